"""The account of the planner's model calls: money and a permit are taken for all of them, each is told as it ends.

The ledger keeps one call open for as long as the planner may call, with all that is left for it. So nothing is spent
that was not reserved, and what a dispatcher or planner that died may have spent counts in full.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from waybill.api.v1 import planner_pb2
from waybill.core.task import CallState, Failure, Usage
from waybill.errors import Unavailable
from waybill.ledger.call_records import CallOpening, CallRecord, CallVerdict, Observed, Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRef
from waybill.rpc.events import usage_from_proto
from waybill_dispatcher.leasing import LeaseLost

MAX_CALLS_A_ROUND = 12
MAX_LOST_CALLS_A_ROUND = 3
"""From so many on, of which nobody knows what came of them, a round goes on without the model."""
UNACCOUNTED = Observed(accounted=False)
"""Of a call that nobody tells of any more."""
_TRIES = 40
_TRY_SECONDS = 0.25

Answered = TypeVar("Answered")


class MustWait(Exception):
    """The endpoint is at its limits, or the money is reserved for others: ask again after `wait_ms`."""

    def __init__(self, wait_ms: int) -> None:
        super().__init__(wait_ms)
        self.wait_ms = wait_ms


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the planner may do: spend so much, on calls of which the first has this number."""

    cost_microusd: int
    budgeted: bool
    first_call: int


class PlannerAccount:
    """The account of one planning or revision."""

    def __init__(self, ledger: Ledger, task: str, tenant: str, round_: int) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self._ref = StepRef(task, 0, round_)
        self._number = 0
        self._left_microusd = 0

    @property
    def call_name(self) -> str:
        """What the provider is told of whose calls these are."""
        return f"{self._ref.task}/0/{self._ref.attempt}"

    async def open(self, model: planner_pb2.GetPlannerModelResponse) -> Allowance | Failure:
        """Take what the planner may need, or learn why it gets nothing. Raises MustWait, LeaseLost and Unavailable."""
        made = await self._made()
        lost = sum(call.state is not CallState.SETTLED for call in made)
        if len(made) >= MAX_CALLS_A_ROUND or lost >= MAX_LOST_CALLS_A_ROUND:
            return Failure(
                "MODEL_UNAVAILABLE", f"the model was asked {len(made)} times in vain, {lost} of them cut off"
            )
        task, tenant = await self._ledger.task(self._ref.task), await self._ledger.tenant_budget(self._tenant)
        limit_microusd = task.budget.max_cost_microusd if task.budget else 0
        budgeted = limit_microusd > 0 or tenant.max_total_microusd > 0 or tenant.max_day_microusd > 0
        most_microusd = model.max_cost_microusd
        if limit_microusd:
            most_microusd = min(most_microusd, limit_microusd - task.usage.cost_microusd)
        self._number = max((call.number for call in made), default=0) + 1
        refused = await self._begin(model, most_microusd)
        return refused or Allowance(self._left_microusd, budgeted, self._number)

    async def _made(self) -> list[CallRecord]:
        """The calls of this round until now. What is open among them was a dispatcher's that died."""
        made = [
            call
            for call in await self._ledger.calls(self._ref.task)
            if call.step_number == 0 and call.attempt == self._ref.attempt
        ]
        for call in made:
            if call.state is CallState.OPEN:
                await self._ledger.end_call(self._ref, call.number, call.usage, UNACCOUNTED)
        return made

    async def _begin(self, model: planner_pb2.GetPlannerModelResponse, most_microusd: int) -> Failure | None:
        scope = "task"
        while most_microusd > 0:
            opening = CallOpening(
                number=self._number,
                nonce=secrets.token_hex(8),
                model=model.model,
                endpoint=model.endpoint,
                worst=Usage(cost_microusd=most_microusd),
                rates=Rates(model.max_concurrency, model.requests_per_minute, model.tokens_per_minute),
            )
            decision = await self._ledger.begin_call("", self._ref, opening)
            match decision.verdict:
                case CallVerdict.GO:
                    self._left_microusd = most_microusd
                    return None
                case CallVerdict.WAIT:
                    raise MustWait(decision.wait_ms)
                case CallVerdict.STALE:
                    raise LeaseLost
                case CallVerdict.TOO_MANY:
                    return Failure("TOO_MANY_CALLS", "the task has made as many model calls as one may")
            scope, most_microusd = decision.scope, min(most_microusd - 1, decision.left_microusd)
        return Failure("BUDGET_EXHAUSTED", f"nothing is left of the budget ({scope}) for the planner's model")

    async def told(self, call: planner_pb2.PlannerCall) -> None:
        """A call has ended. Raises LeaseLost if no more may be made, and Unavailable."""
        usage, nonce = usage_from_proto(call.usage), secrets.token_hex(8)
        goes_on = await _patiently(
            lambda: self._ledger.pass_call(
                self._ref, self._number, nonce, call.model, call.endpoint, usage, call.retry_after_ms
            )
        )
        if not goes_on:
            raise LeaseLost
        self._number += 1
        self._left_microusd = max(0, self._left_microusd - usage.cost_microusd)

    async def close(self) -> None:
        """All calls were told: what is left is given back. Raises Unavailable."""
        await _patiently(lambda: self._ledger.drop_call(self._ref, self._number))

    async def lose(self) -> None:
        """There may have been a call that nobody told of: what is left counts as spent. Raises Unavailable."""
        left_microusd = self._left_microusd
        worst = Usage(cost_microusd=left_microusd, estimated_microusd=left_microusd)
        await _patiently(lambda: self._ledger.end_call(self._ref, self._number, worst, UNACCOUNTED))


async def _patiently(call: Callable[[], Awaitable[Answered]]) -> Answered:
    """What the call answers, once the store does. All of them may be repeated."""
    for _ in range(_TRIES):
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(_TRY_SECONDS)
    return await call()
