"""What callers may do to a ledger, each with what the model says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from ledger_fold import check_history
from ledger_hand import Hand
from ledger_model import Model
from ledger_plans import new_task
from ledger_random import AGENTS, random_graph

from waybill.core.budget import Budget, TaskPolicy
from waybill.core.task import StepState
from waybill.errors import FailedPrecondition
from waybill.ledger.call_records import CallRecord
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted, NewTask, Request, Settlement, StepRecord, TaskRecord
from waybill.ledger.steering import PauseKind

START_MS = 1_700_000_000_000
TENANTS = ("acme", "zeta")
TASK_POLICIES = (None, None, None, TaskPolicy(max_revisions=1), TaskPolicy(max_added_steps=3))
BUDGETS = (None, Budget(40), Budget(90))
CALLERS = (
    *("submit", "submit", "submit_twice", "plan", "steer", "steer", "steer_twice"),
    *("answer", "pause_or_resume", "look"),
)
_Result = TypeVar("_Result")
_Choice = TypeVar("_Choice")


class Callers:
    """A ledger, its model, two workers, and everything that was done so far. `random` decides what is picked."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.random = Random()
        self.ledger = Ledger(url, clock_ms=START_MS)
        self.model = Model(START_MS)
        self.tasks: dict[str, NewTask] = {}
        two = Hand(self.ledger, "two", ("echo",), slots=2)
        self.hands = [Hand(self.ledger, "one", AGENTS, slots=3, max_batch=4), two]
        self.settled: list[Settlement] = []
        self.requests: dict[Request, tuple[str, str]] = {}
        self.seen: list[tuple[str, TaskRecord, list[StepRecord], list[CallRecord]]] = []
        self.calls = 0

    def call(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return self.runner.run(coroutine)

    def pick(self, choices: Iterable[_Choice]) -> _Choice | None:
        known = list(choices)
        return self.random.choice(known) if known else None

    def submit(self) -> None:
        task = new_task(
            random_graph(self.random) if self.random.random() < 0.8 else None,
            tenant=self.random.choice(TENANTS),
            goal="g",
            deadline_ms=self.random.choice([0] * 8 + [900, 86_400_000]),
            policy=self.random.choice(TASK_POLICIES),
            budget=self.random.choice(BUDGETS),
            start_ms=self.random.choice([0] * 4 + [self.model.now + later for later in (-1, 1, 300, 20_000)]),
        )
        # What is due at once is done in the order of the names, so that a run is only repeated with the same names.
        task = replace(task, id=f"0-{self.random.getrandbits(80):020x}")
        (accepted,) = self.call(self.ledger.submit([task]))
        assert isinstance(accepted, Accepted)
        self.tasks[task.id] = task
        self.model.submit(task)

    def submit_twice(self) -> None:
        if task := self.pick(self.tasks.values()):
            assert self.call(self.ledger.submit([task])) == [Accepted(task.id, repeated=True)]

    def plan(self) -> None:
        """A dispatcher leases a goal, and plans it unless it dies."""
        for lease in self.call(self.ledger.lease_planning(500, 1)):
            if self.random.random() < 0.5:
                planned = random_graph(self.random)
                assert self.call(self.ledger.attach_plan(lease.task, 0, planned, lease.round))
                self.model.plan(lease.task, new_task(planned))

    def steer(self, verb: str = "", task_id: str = "") -> None:
        task_id = task_id or self.pick(self.tasks) or ""
        verb = verb or self.random.choice(["cancel", "pause", "pause", "resume", "resume", "retry", "retry"])
        if not task_id:
            return
        request = Request(self.tasks[task_id].tenant, f"steer-{len(self.requests)}")
        try:
            state = self.call(getattr(self.ledger, verb)(task_id, request))
        except FailedPrecondition:
            assert not getattr(self.model, verb)(task_id)
        else:
            assert getattr(self.model, verb)(task_id), f"{verb} was not to be allowed"
            assert state is self.model.tasks[task_id].state
            self.requests[request] = (verb, task_id)

    def steer_twice(self) -> None:
        """A call that was made before comes again, late: it changes nothing."""
        if picked := self.pick(self.requests.items()):
            request, (verb, task_id) = picked
            assert self.call(getattr(self.ledger, verb)(task_id, request)) is self.model.tasks[task_id].state

    def answer(self) -> None:
        steps = [(task, step) for task in self.model.tasks.values() for step in task.steps.values()]
        asked = [pair for pair in steps if pair[1].state is StepState.WAITING]
        if picked := self.pick(asked or steps):
            task, step = picked
            try:
                self.call(self.ledger.answer(task.id, step.number, b'"yes"'))
            except FailedPrecondition:
                assert not self.model.answer(task.id, step.number)
            else:
                assert self.model.answer(task.id, step.number)

    def pause_or_resume(self) -> None:
        """An agent or a tenant is held, or goes on."""
        names = [*(f"agent:{name}" for name in AGENTS), *(f"tenant:{name}" for name in TENANTS)]
        name = self.random.choice(sorted(self.model.paused) or names)
        kind, _, named = name.partition(":")
        self.call(self.ledger.set_paused(PauseKind(kind), named, name not in self.model.paused))
        self.model.paused ^= {name}

    def look(self) -> None:
        """The history is whole at any moment, and what is read here is a place to follow it from."""
        if task_id := self.pick(self.tasks):
            task, steps = self.call(check_history(self.ledger, task_id))
            self.seen.append((task_id, task, list(steps.values()), self.call(self.ledger.calls(task_id))))
