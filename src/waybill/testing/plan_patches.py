"""Patches of a plan that runs in memory: steps that agents add, and revisions; what the ledger's `patch.lua` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from waybill.adding import AddedSteps, patch_invalid
from waybill.core.limits import MAX_PLAN_INPUT_BYTES
from waybill.core.patch import LinkedPatch, Patch
from waybill.core.patching import KnownStep, link_patch
from waybill.core.plan import AgentSchema, Condition
from waybill.core.task import EventType, StepState, TaskState, Usage
from waybill.errors import InvalidPlan, Permanent, Violation
from waybill.invocation import Result, result_of
from waybill.ledger.records import Outcome
from waybill.testing.plan_steps import MemoryStep
from waybill.testing.plan_task import MemoryTask


class MemoryPatches:
    """Changes the plan of one task."""

    def __init__(self, task: MemoryTask, agents: Mapping[str, AgentSchema]) -> None:
        self._task = task
        self._agents = agents
        self._added_bytes = 0

    def settle(self, step: MemoryStep, result: Result, added: AddedSteps, spent: Usage, run_ms: int) -> None:
        """RUNNING ends for an attempt that may add steps: they exist together with its success, or not at all."""
        task, patch = self._task, added.patch(step.name)
        if patch is None or result.outcome is not Outcome.SUCCEEDED:
            task.settle(step, result, spent, run_ms)
            return
        try:
            linked = self.linked(patch, step.name)
        except InvalidPlan as error:
            shown = "; ".join(f"{violation.field}: {violation.description}" for violation in error.violations)
            task.settle(step, result_of(patch_invalid(shown)), spent, run_ms)
            return
        if task.state is TaskState.CANCELLING:
            task.settle(step, result, spent, run_ms)
        elif defect := self._size_defect(linked):
            task.settle(step, result_of(Permanent(defect, reason="PATCH_INVALID")), spent, run_ms)
        else:
            task.settle(step, result, spent, run_ms, lambda: self._apply(linked, step, ()))

    def revise(self, patch: Patch, failed: Sequence[MemoryStep]) -> None:
        """Apply a revision, which makes up for failed steps. Raises `InvalidPlan` if the plan does not allow it."""
        task, linked = self._task, self.linked(patch)
        if defect := self._size_defect(linked):
            raise InvalidPlan.of([Violation("patch.steps", defect)])
        self._apply(linked, None, [step.number for step in failed])
        task.revising, task.revisions = False, task.revisions + 1
        task.advance()
        left = unmended(task)
        if left and task.may_be_revised:
            task.begin_round()
        elif left:
            task.stop(TaskState.FAILED, left[0].failure)
        task.settle_task()

    def linked(self, patch: Patch, own_step: str = "") -> LinkedPatch:
        """The patch with its edges. Raises `InvalidPlan` with all that is wrong with it."""
        known = [
            KnownStep(step.name, step.state, tuple(step.dependencies), step.dropped)
            for step in self._task.steps.values()
        ]
        return link_patch(patch, known, self._agents, self._task.policy, own_step)

    def _size_defect(self, patch: LinkedPatch) -> str:
        task, added_bytes = self._task, sum(len(linked.step.input) for linked in patch.steps)
        if task.added + len(patch.steps) > task.policy.max_added_steps:
            return (
                f"the task would have {task.added + len(patch.steps)} added steps, "
                f"and its policy allows {task.policy.max_added_steps}"
            )
        if self._added_bytes + added_bytes > MAX_PLAN_INPUT_BYTES:
            return f"the inputs of added steps would have more than {MAX_PLAN_INPUT_BYTES} bytes in all"
        self._added_bytes += added_bytes
        return ""

    def _apply(self, patch: LinkedPatch, asker: MemoryStep | None, failed: Sequence[int]) -> None:
        task, base = self._task, len(self._task.steps)
        old = list(task.steps.values())
        task.revision, task.added = task.revision + 1, task.added + len(patch.steps)
        count = base + len(patch.steps)
        task.tell(EventType.PLAN_REVISED, asker, revision=task.revision, step_count=count, message=patch.reason)
        for number, linked in enumerate(patch.steps, base + 1):
            step = MemoryStep.of(number, linked)
            step.dependencies = [_placed(at, base) for at in step.dependencies]
            step.references = [_placed(at, base) for at in step.references]
            step.conditions = [Condition(item.path, _placed(item.number, base)) for item in step.conditions]
            task.steps[number] = step
        places = {replaced: _placed(new, base) for replaced, new in patch.substitutes}
        for replaced, new in places.items():
            for step in old:
                if replaced in step.dependencies and step.state is StepState.PENDING:
                    _redirect(step, task.steps[replaced], new)
        task.relink()
        self._take_out([*patch.drop, *failed, *places])
        task.sinks = {places.get(at, at) for at in task.sinks if at in places or not task.steps[at].dropped}
        if asker is None:
            needed = {number for step in task.steps.values() for number in step.dependencies}
            task.sinks |= {number for number in task.steps if number > base and number not in needed}

    def _take_out(self, numbers: Sequence[int]) -> None:
        """What is dropped, and what failed and is made up for, is out for good, with all that depends on it still."""
        task, reached = self._task, []
        for step in (task.steps[number] for number in numbers):
            if not step.state.ended:
                task.finish(step, StepState.SKIPPED)
            if step.state is not StepState.SUCCEEDED:
                step.dropped = True
                reached.append(step.number)
        while reached:
            number = reached.pop()
            for other in task.steps.values():
                if number not in other.dependencies:
                    continue
                if other.state is StepState.PENDING:
                    task.finish(other, StepState.SKIPPED)
                if other.state is StepState.SKIPPED and not other.dropped:
                    other.dropped = True
                    reached.append(other.number)


def unmended(task: MemoryTask) -> list[MemoryStep]:
    """What failed, asked for a revision, and has got none."""
    return [step for step in task.of_state(StepState.FAILED) if step.wants_revision and not step.dropped]


def _placed(number: int, base: int) -> int:
    return number if number >= 0 else base - number


def _redirect(step: MemoryStep, old: MemoryStep, new: int) -> None:
    names = step.known_as.pop(old.number, [old.name])
    step.known_as[new] = [*step.known_as.get(new, []), *names]
    for numbers in (step.dependencies, step.references):
        numbers[:] = dict.fromkeys(new if number == old.number else number for number in numbers)
    step.conditions = [
        Condition(item.path, new if item.number == old.number else item.number) for item in step.conditions
    ]
