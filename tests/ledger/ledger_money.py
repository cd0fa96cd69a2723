"""Money and limits in the model: what was begun and told says what has to be spent, reserved and allowed.

A call is open as long as its attempt, or its planner's round, goes on and nobody told its end; from then on it counts
as its worst case. Nothing of that is remembered as a state: it follows from what the model knows of attempts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ledger_calls import estimated
from ledger_model import Model
from ledger_transitions import ModelStep, ModelTask

from waybill.core.budget import Budget
from waybill.core.task import StepState, Usage
from waybill.ledger.call_records import CallState, CallVerdict
from waybill.ledger.records import Settlement, StepRef


@dataclass
class ModelCall:
    """`told` is what the caller said that it used, None until it did; `guessed` without an account."""

    ref: StepRef
    number: int
    worst: Usage
    nonce: str
    told: Usage | None = None
    guessed: bool = False


class SpendingModel(Model):
    """All calls, what attempts reported, budgets of tenants, and limits with the attempts that began under them."""

    def __init__(self, now: int) -> None:
        super().__init__(now)
        self.calls: dict[tuple[StepRef, int], ModelCall] = {}
        self.reported: dict[str, Usage] = {}
        self.budgets: dict[str, Budget] = {}
        self.most_of_tenants: dict[str, int] = {}
        self.limits: dict[str, int] = {}
        self.begun_under: dict[str, set[StepRef]] = {}

    # Money.

    def may_call(self, ref: StepRef) -> bool:
        """Whether the attempt, or the planner's round, goes on."""
        task = self.tasks[ref.task]
        if ref.number == 0:
            return self.is_planned(ref.task, ref.attempt)
        step = task.steps.get(ref.number)
        return step is not None and (step.state, step.attempt) == (StepState.RUNNING, ref.attempt)

    def is_open(self, call: ModelCall) -> bool:
        return call.told is None and self.may_call(call.ref)

    def state_of(self, call: ModelCall) -> CallState:
        if self.is_open(call):
            return CallState.OPEN
        return CallState.ESTIMATED if call.told is None or call.guessed else CallState.SETTLED

    def used(self, call: ModelCall) -> Usage:
        """What the call counts for."""
        if call.told is not None:
            return call.told
        return Usage() if self.is_open(call) else estimated(call.worst)

    def usage(self, task_id: str) -> Usage:
        """What a task used."""
        calls = (self.used(call) for call in self.calls.values() if call.ref.task == task_id)
        return sum(calls, self.reported.get(task_id, Usage()))

    def reserved(self, task_id: str) -> int:
        """What is reserved for a task's open calls."""
        calls = (call for call in self.calls.values() if call.ref.task == task_id and self.is_open(call))
        return sum(call.worst.cost_microusd for call in calls)

    def of_tenant(self, tenant: str) -> tuple[int, int]:
        """What a tenant spent and has reserved."""
        tasks = [task.id for task in self.tasks.values() if task.tenant == tenant]
        return sum(self.usage(task).cost_microusd for task in tasks), sum(map(self.reserved, tasks))

    def money_verdict(self, ref: StepRef, cost_microusd: int) -> CallVerdict:
        """What budgets say of a call that may cost so much."""
        task, verdict = self.tasks[ref.task], CallVerdict.GO
        budget = self.budgets.get(task.id)
        rows = [
            (budget.max_cost_microusd if budget else 0, self.usage(task.id).cost_microusd, self.reserved(task.id)),
            (self.most_of_tenants.get(task.tenant, 0), *self.of_tenant(task.tenant)),
        ]
        for most, spent, reserved in rows:
            if most and cost_microusd and spent + cost_microusd > most:
                return CallVerdict.OVER
            if most and cost_microusd and spent + reserved + cost_microusd > most:
                verdict = CallVerdict.WAIT
        return verdict

    def settle(self, worker: str, settlement: Settlement) -> bool:
        """Whether it counts; what the attempt reported does then."""
        counts = super().settle(worker, settlement)
        if counts:
            task = settlement.ref.task
            self.reported[task] = self.reported.get(task, Usage()) + settlement.usage
        return counts

    # Limits.

    def set_limit(self, name: str, most: int) -> None:
        if not most:
            self.limits.pop(name, None)
            self.begun_under.pop(name, None)
        else:
            self.limits[name] = most

    def holders(self, name: str) -> set[StepRef]:
        """The attempts that run with a permit of the limit, as far as they began under it."""
        return {ref for ref in self.begun_under.get(name, set()) if self.may_call(ref)}

    def grant(self, ref: StepRef, worker: str, exchange: int, *, suspect: bool, inputs: Mapping[str, bytes]) -> None:
        """The attempt begins, if no limit is against it."""
        super().grant(ref, worker, exchange, suspect=suspect, inputs=inputs)
        task = self.tasks[ref.task]
        for name in _limits_of(task, task.steps[ref.number]):
            if name in self.limits:
                assert len(self.holders(name)) < self.limits[name], f"{ref} must not start: {name} is at its limit"
                self.begun_under.setdefault(name, set()).add(ref)


def _limits_of(task: ModelTask, step: ModelStep) -> tuple[str, str]:
    return f"agent:{step.linked.step.agent}", f"tenant:{task.tenant}"
