"""Whoever accounts for the calls of a model: allows each before it is made, and hears how it ended.

The worker's meter is the ledger; `CappedMeter` keeps to a sum by itself, for whoever has no attempt in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from waybill.core.task import Usage
from waybill.errors import Permanent
from waybill.models.config import Endpoint
from waybill.models.told import Told


@dataclass(frozen=True, slots=True)
class CallPlan:
    """One call that is about to be made. `model` is the provider's name of the model, `endpoint` the operator's name of
    the place; `worst` is the most that it can use and cost, and without a price (`priced`) its cost says nothing.
    `prompt` is the body that is sent, if prompts are kept.
    """

    model: str
    endpoint: str
    limits: Endpoint
    worst: Usage
    priced: bool
    prompt: bytes = b""


@dataclass(frozen=True, slots=True)
class BegunCall:
    """A call that may be made. `name` tells the provider which it is: task, step number, attempt and call."""

    plan: CallPlan
    number: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended. Without an account of the provider's (`accounted`) the usage is the worst case, a guess."""

    usage: Usage
    told: Told = Told()
    response: bytes = b""
    accounted: bool = True


def estimated(worst: Usage) -> Usage:
    """The usage of a call that nobody gave account of: the worst case, all of it an estimate."""
    return msgspec.structs.replace(worst, estimated_microusd=worst.cost_microusd)


class OverBudget(Exception):
    """The call would cross a budget; with `cheaper` the task's policy is to try a cheaper model."""

    def __init__(self, scope: str, left_microusd: int, *, cheaper: bool = False) -> None:
        super().__init__(scope)
        self.scope = scope
        self.left_microusd = left_microusd
        self.cheaper = cheaper


class Limited(Exception):
    """The endpoint is at its limits, and the caller did not want to wait for so long."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(wait_seconds)
        self.wait_seconds = wait_seconds


class Meter(Protocol):
    """What `ModelClient` asks before each call and tells after it."""

    async def begin(self, plan: CallPlan, *, patient: bool) -> BegunCall:
        """Allow a call. Raises OverBudget, Limited if it would have to wait and is not `patient`, and WaybillError."""

    def end(self, call: BegunCall, end: CallEnd) -> Awaitable[None]:
        """Hear how it ended. What was told counts even if nobody awaits it, as when the caller is cancelled."""

    async def rest(self, seconds: float) -> None:
        """Wait before the next call."""


@dataclass(slots=True)
class CappedMeter:
    """Allows calls while what they cost, at worst, stays within `cap_microusd`; 0 for no cap. From one loop.

    `name` stands before the number of each call, from `first` on, in what the provider is told; with `priced_only` a
    model without a price is not asked. `ended` keeps what became of each call, and `on_end` hears of it at once.
    """

    cap_microusd: int = 0
    name: str = ""
    first: int = 1
    priced_only: bool = False
    on_end: Callable[[BegunCall, CallEnd], None] | None = None
    ended: list[tuple[BegunCall, CallEnd]] = field(default_factory=list)
    _reserved_microusd: int = 0
    _begun: int = 0

    @property
    def usage(self) -> Usage:
        """What all calls that have ended used."""
        total = Usage()
        for _, end in self.ended:
            total += end.usage
        return total

    async def begin(self, plan: CallPlan, *, patient: bool) -> BegunCall:
        """Allow a call."""
        left_microusd = self.cap_microusd - self.usage.cost_microusd - self._reserved_microusd
        if self.priced_only and not plan.priced:
            raise Permanent(
                f"model {plan.model} has no price, so that nobody knows whether it fits the budget: its operator sets "
                "input_usd_per_million and output_usd_per_million",
                reason="PRICE_UNKNOWN",
            )
        if self.cap_microusd and plan.worst.cost_microusd > left_microusd:
            raise OverBudget("task", left_microusd)
        self._reserved_microusd += plan.worst.cost_microusd
        number, self._begun = self.first + self._begun, self._begun + 1
        return BegunCall(plan, number, f"{self.name}/{number}" if self.name else "")

    def end(self, call: BegunCall, end: CallEnd) -> Awaitable[None]:
        """Replace the worst case by what it was."""
        self._reserved_microusd -= call.plan.worst.cost_microusd
        self.ended.append((call, end))
        if self.on_end is not None:
            self.on_end(call, end)
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        told.set_result(None)
        return told

    async def rest(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)
