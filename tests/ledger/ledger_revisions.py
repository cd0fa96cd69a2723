"""How the plans of the model adapt: decisions, patches of agents, and revisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ledger_transitions import OPEN, ModelStep, ModelTask, Transitions

from waybill.core.edges import cycles_of, dependents_of
from waybill.core.patch import LinkedPatch
from waybill.core.plan import Condition
from waybill.core.task import StepState, TaskState

_DROPPABLE = (StepState.PENDING, StepState.READY, StepState.BACKOFF)
_LOST = (StepState.FAILED, StepState.CANCELLED)


@dataclass(frozen=True)
class Asked:
    """A step whose conditions are to be looked at, and what the ledger has to tell of it."""

    task: str
    number: int
    turn: int
    conditions: tuple[Condition, ...]
    inputs: dict[int, bytes]


@dataclass(frozen=True)
class Wanted:
    """A revision, and what the ledger has to tell of it."""

    task: str
    revision: int
    round: int
    failed: tuple[int, ...]
    reason: str


class Revisions(Transitions):
    """Conditions, patches and rounds of all tasks."""

    def __init__(self, now: int) -> None:
        super().__init__(now)
        self.tasks: dict[str, ModelTask] = {}

    # Conditions.

    def undecided(self) -> dict[str, int]:
        """All steps whose conditions are to be looked at, as the ledger writes them, with the time."""
        steps = ((task, step) for task in self.tasks.values() for step in task.steps.values())
        return {f"{task.id}:{step.number}": step.decide_due for task, step in steps if step.decide_due is not None}

    def lease_decisions(self, lease_ms: int, limit: int) -> list[Asked]:
        leased = []
        for _, member in _due(self.undecided(), self.now)[:limit]:
            task_id, _, number = member.rpartition(":")
            task = self.tasks[task_id]
            step = task.steps[int(number)]
            if task.state is TaskState.RUNNING:
                step.decide_due = self.now + lease_ms
                roots = sorted({condition.number for condition in step.conditions})
                inputs = {root: task.steps[root].output if root else b'{"goal":"g","input":null}' for root in roots}
                leased.append(Asked(task_id, step.number, step.turn, tuple(step.conditions), inputs))
            else:
                step.decide_due = None
        return leased

    def is_asked(self, task_id: str, number: int) -> bool:
        """Whether the conditions of the step are to be looked at."""
        return self.tasks[task_id].steps[number].decide_due is not None

    def decide(self, task_id: str, number: int, turn: int, holds: bool) -> bool:
        task = self.tasks[task_id]
        step = task.steps[number]
        if step.decide_due is None or step.turn != turn:
            return False
        step.decide_due = None
        if task.state is not TaskState.RUNNING:
            return False
        if holds:
            self._ready(task, step)
        else:
            self._end(step, StepState.SKIPPED)
            self._advance(task)
            self._settle_task(task)
        return True

    # Revisions.

    def revisions_due(self) -> dict[str, int]:
        """All tasks whose revision may be leased, with the time."""
        return {task.id: task.revise_due for task in self.tasks.values() if task.revise_due is not None}

    def lease_revisions(self, lease_ms: int, limit: int) -> list[Wanted]:
        leased = []
        for _, task_id in _due(self.revisions_due(), self.now)[:limit]:
            task = self.tasks[task_id]
            if task.state is TaskState.RUNNING:
                task.revise_due = self.now + lease_ms
                failed = tuple(step.number for step in _unmended(task))
                reason = task.steps[failed[0]].failure if failed else ""
                leased.append(Wanted(task_id, task.revision, task.round, failed, reason))
            else:
                task.revise_due = None
        return leased

    def is_revised(self, task_id: str, round_: int) -> bool:
        task = self.tasks[task_id]
        return task.revising and task.round == round_

    def is_planned(self, task_id: str, round_: int) -> bool:
        """Whether a planner is at work in that round."""
        task = self.tasks[task_id]
        return (task.state is TaskState.PLANNING and task.round == round_) or self.is_revised(task_id, round_)

    def postpone(self, task_id: str, round_: int, delay_ms: int) -> bool:
        if self.is_revised(task_id, round_):
            self.tasks[task_id].revise_due = self.now + delay_ms
        return self.is_revised(task_id, round_)

    def decline(self, task_id: str, round_: int, reason: str) -> bool:
        if not self.is_revised(task_id, round_):
            return False
        self._stop(self.tasks[task_id], TaskState.FAILED, reason)
        return True

    def revise(self, wanted: Wanted, patch: LinkedPatch) -> str:
        """What becomes of a patch by the planner: `ok`, `stale` or `refused`."""
        task = self.tasks[wanted.task]
        if task.state is not TaskState.RUNNING or not self.is_revised(wanted.task, wanted.round):
            return "stale"
        if task.revision != wanted.revision:
            self._offer_revision(task)
            return "stale"
        if self.is_refused(task, patch, None):
            return "refused"
        self._apply(task, patch, None, wanted.failed)
        self._advance(task)
        self._end_round(task)
        task.revisions += 1
        left = _unmended(task)
        if left and task.revisions < task.policy.max_revisions:
            self._begin_round(task)
        elif left:
            self._stop(task, TaskState.FAILED, left[0].failure)
        self._settle_task(task)
        return "ok"

    def commit_with_patch(self, task: ModelTask, step: ModelStep, output: bytes, patch: LinkedPatch) -> None:
        """A step succeeds whose agent adds others; in a task that stops it adds nothing."""
        if task.state is not TaskState.CANCELLING:
            if self.is_refused(task, patch, step):
                self._fail(task, step, "PATCH_INVALID", final=True)
                return
            self._end(step, StepState.SUCCEEDED)
            self._apply(task, patch, step, ())
        self._commit(task, step, output)

    # Patches.

    def is_refused(self, task: ModelTask, patch: LinkedPatch, asker: ModelStep | None) -> bool:
        """Whether the plan as it stands does not allow the patch."""
        if task.added + len(patch.steps) > task.policy.max_added_steps:
            return True
        names = [step.name for step in task.steps.values()] + [linked.step.name for linked in patch.steps]
        if len(set(names)) < len(names):
            return True
        if any(task.steps[number].state not in _DROPPABLE for number in patch.drop):
            return True
        for linked in patch.steps:
            for needed in (task.steps[number] for number in linked.dependencies if number > 0):
                if needed.number in patch.drop or needed.dropped or needed.state in _LOST:
                    return True
        for old in (task.steps[number] for number, _ in patch.substitutes):
            failed = asker is None and old.state is StepState.FAILED and not old.dropped
            if old.number not in patch.drop and old is not asker and not failed:
                return True
        return bool(_has_cycle(task, patch))

    def _apply(self, task: ModelTask, patch: LinkedPatch, asker: ModelStep | None, failed: Sequence[int]) -> None:
        base = len(task.steps)
        task.revision, task.added = task.revision + 1, task.added + len(patch.steps)
        old = list(task.steps.values())
        for number, linked in enumerate(patch.steps, base + 1):
            conditions = [Condition(item.path, _placed(item.number, base)) for item in linked.conditions]
            needed = [_placed(item, base) for item in linked.dependencies]
            referred = [_placed(item, base) for item in linked.references]
            task.steps[number] = ModelStep(number, linked, needed, referred, conditions, task.revision)
        places = {replaced: _placed(new, base) for replaced, new in patch.substitutes}
        for replaced, new in places.items():
            for step in old:
                if replaced in step.dependencies and step.state is StepState.PENDING:
                    _redirect(step, task.steps[replaced], new)
        self._take_out(task, [*patch.drop, *failed, *(number for number in places)])
        task.sinks = {places.get(at, at) for at in task.sinks if at in places or not task.steps[at].dropped}
        if asker is None:
            new_steps = [step for step in task.steps.values() if step.number > base]
            task.sinks |= {step.number for step in new_steps if not task.dependents(step)}

    def _take_out(self, task: ModelTask, numbers: Sequence[int]) -> None:
        """What is dropped, and what failed and is made up for, is out for good, with all that depends on it still."""
        reached = []
        for step in (task.steps[number] for number in numbers):
            if step.state in OPEN:
                self._end(step, StepState.SKIPPED)
            if step.state is not StepState.SUCCEEDED:
                step.dropped = True
                reached.append(step)
        while reached:
            for other in task.dependents(reached.pop()):
                if other.state is StepState.PENDING:
                    self._end(other, StepState.SKIPPED)
                if other.state is StepState.SKIPPED and not other.dropped:
                    other.dropped = True
                    reached.append(other)


def _unmended(task: ModelTask) -> list[ModelStep]:
    """What failed, asked for a revision, and has got none."""
    steps = task.steps.values()
    return [step for step in steps if step.state is StepState.FAILED and step.wants_revision and not step.dropped]


def _placed(number: int, base: int) -> int:
    return number if number >= 0 else base - number


def _redirect(step: ModelStep, old: ModelStep, new: int) -> None:
    names = step.known_as.pop(old.number, {old.name})
    step.known_as[new] = step.known_as.get(new, set()) | names
    for numbers in (step.dependencies, step.references):
        numbers[:] = dict.fromkeys(new if number == old.number else number for number in numbers)
    step.conditions = [Condition(c.path, new if c.number == old.number else c.number) for c in step.conditions]


def _has_cycle(task: ModelTask, patch: LinkedPatch) -> bool:
    base = len(task.steps)
    places = {old: _placed(new, base) for old, new in patch.substitutes}
    needs = [[places.get(number, number) - 1 for number in step.dependencies] for step in task.steps.values()]
    needs += [[_placed(number, base) - 1 for number in linked.dependencies] for linked in patch.steps]
    return bool(cycles_of(needs, dependents_of(needs)))


def _due(due: dict[str, int], now: int) -> list[tuple[int, str]]:
    return sorted((at, member) for member, at in due.items() if at <= now)


def named_inputs(task: ModelTask, step: ModelStep) -> Iterator[tuple[str, bytes]]:
    """What a step's input may refer to, by the names under which the step knows it."""
    for number in step.references:
        other = task.steps[number]
        for name in step.known_as.get(number) or {other.name}:
            yield name, other.output
