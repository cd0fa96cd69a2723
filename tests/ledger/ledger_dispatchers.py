"""What dispatchers and planners may do to a ledger in which plans adapt, each with what the model says of it."""

from __future__ import annotations

from dataclasses import dataclass

from ledger_callers import Callers
from ledger_random import random_patch
from ledger_revisions import Asked, Wanted

from waybill.core.patch import LinkedPatch
from waybill.core.task import Event, EventType, Failure
from waybill.errors import FailedPrecondition

NO_OTHER_WAY = Failure("PLAN_NOT_REVISED", "there is no other way")
DISPATCHERS = (
    *("decide",) * 3,
    *(
        "decide_amid_steering",
        "decide_amid_steering",
        "decide_late",
        "revise",
        "revise",
        "revise",
        "revise_late",
        "revise_late",
        "tell_planning",
    ),
)


@dataclass(frozen=True)
class Draft:
    """A revision that a planner has been asked for, and its patch, if it has made one."""

    wanted: Wanted
    patch: LinkedPatch | None


class Dispatchers(Callers):
    """Dispatchers that decide and revise, in time, late, twice, or never."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[Asked] = []
        self.drafts: list[Draft] = []

    def decide(self, likely: float = 0.8) -> None:
        """A dispatcher leases decisions and makes them, unless it dies."""
        limit = self.random.randint(1, 3)
        leases = self.call(self.ledger.lease_decisions(500, limit))
        found = [Asked(item.task, item.number, item.turn, item.conditions, dict(item.inputs)) for item in leases]
        assert found == self.model.lease_decisions(500, limit)
        self.asked += found
        for asked in found:
            if self.random.random() < likely:
                self._decide(asked)

    def decide_amid_steering(self) -> None:
        """A decision is asked for; its task is stopped or held, and goes on; then it is made, perhaps twice."""
        self.decide(likely=0.0)
        waiting = [asked for asked in self.asked if self.model.is_asked(asked.task, asked.number)]
        if asked := self.pick(waiting):
            verbs = self.random.choice([("pause", "resume"), ("cancel", "retry"), ("cancel", "cancel")])
            self.steer(verbs[0], asked.task)
            if self.random.random() < 0.5:
                self._decide(asked)
            self.steer(verbs[1], asked.task)
            self._decide(asked)

    def decide_late(self) -> None:
        """A decision is made that was asked for some time ago, perhaps not for the first time."""
        if asked := self.pick(self.asked):
            self._decide(asked)

    def _decide(self, asked: Asked) -> None:
        holds = self.random.random() < 0.7
        decided = self.call(self.ledger.decide_step(asked.task, asked.number, asked.turn, holds))
        assert decided == self.model.decide(asked.task, asked.number, asked.turn, holds)

    def revise(self, likely: float = 0.7) -> None:
        """A dispatcher leases revisions, and has them made or declined, unless it dies."""
        limit = self.random.randint(1, 3)
        leases = self.call(self.ledger.lease_revisions(500, limit))
        found = [
            Wanted(item.task, item.revision, item.round, item.failed, item.failure.reason if item.failure else "")
            for item in leases
        ]
        assert found == self.model.lease_revisions(500, limit)
        for wanted in found:
            draft = Draft(wanted, random_patch(self.random, self.model.tasks[wanted.task], f"r{self.calls}"))
            self.drafts.append(draft)
            if self.random.random() < likely:
                self._revise(draft)

    def revise_late(self, task_id: str = "") -> None:
        """The planner of some time ago is done, perhaps not for the first time."""
        drafts = [draft for draft in self.drafts if draft.wanted.task == task_id] or self.drafts
        if draft := self.pick(drafts[-2:] if task_id else drafts):
            self._revise(draft)

    def _revise(self, draft: Draft) -> None:
        wanted, patch = draft.wanted, draft.patch
        how = self.random.choice(["patch"] * 8 + ["decline", "postpone"])
        if how == "postpone":
            postponed = self.call(self.ledger.postpone_revision(wanted.task, wanted.round, 300, "no planner"))
            assert postponed == self.model.postpone(wanted.task, wanted.round, 300)
        elif how == "decline" or patch is None:
            declined = self.call(self.ledger.decline_revision(wanted.task, wanted.round, NO_OTHER_WAY))
            assert declined == self.model.decline(wanted.task, wanted.round, NO_OTHER_WAY.reason)
        else:
            made = self.ledger.patch_plan(wanted.task, wanted.revision, wanted.round, wanted.failed, patch)
            try:
                became = "ok" if self.call(made) else "stale"
            except FailedPrecondition:
                became = "refused"
            assert became == self.model.revise(wanted, patch)

    def tell_planning(self) -> None:
        """A planner tells how far it is, perhaps of a round that is over."""
        if task := self.pick(self.model.tasks.values()):
            round_ = max(0, task.round - self.random.randint(0, 1))
            event = Event(type=EventType.PLANNING_PROGRESS, message="it thinks")
            told = self.call(self.ledger.tell_planning(task.id, round_, [event]))
            assert told == self.model.is_planned(task.id, round_)
