"""What goes into the ledger's functions about money and limits, and comes out of them. Plain data; no Redis here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from waybill.core.budget import BudgetAction
from waybill.core.task import CallState, Usage


class CallVerdict(StrEnum):
    """Whether a model call may be made."""

    GO = "go"
    WAIT = "wait"
    """Not now: ask again, with the same nonce."""
    OVER = "over"
    """It would cross a budget, whatever comes back of what is reserved."""
    STALE = "stale"
    """The attempt is over."""
    TOO_MANY = "full"
    """The task has made too many calls."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How much may run at once and start in a minute; 0 is no limit."""

    max_concurrency: int = 0
    requests_per_minute: int = 0
    tokens_per_minute: int = 0


@dataclass(frozen=True, slots=True)
class CallOpening:
    """A model call that is about to be made. `number` counts the calls of its attempt, from 1; `nonce` is the same each
    time that this call is asked for; `worst` is the most that it may use; `rates` are what the endpoint allows by its
    configuration; `prompt` is what is asked, if that is to be kept. Who is not `patient` stands in no line, as it will
    not come back for the permit.
    """

    number: int
    nonce: str
    model: str
    endpoint: str
    worst: Usage
    rates: Rates = Rates()
    prompt: bytes = b""
    patient: bool = True


@dataclass(frozen=True, slots=True)
class CallDecision:
    """What became of an opening. `wait_ms` goes with WAIT, the rest with OVER: which budget it would cross ("task",
    "tenant" or "day"), what is left of it, and what the task's author wants then.
    """

    verdict: CallVerdict
    wait_ms: int = 0
    scope: str = ""
    left_microusd: int = 0
    on_limit: BudgetAction = BudgetAction.STOP


@dataclass(frozen=True, slots=True)
class Observed:
    """What a provider told of its own limits in a response, None where it said nothing; and whether it gave account of
    what the call used, without which its usage is a guess.
    """

    requests_per_minute: int | None = None
    remaining_requests: int | None = None
    reset_requests_ms: int | None = None
    tokens_per_minute: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_ms: int | None = None
    retry_after_ms: int = 0
    throttled: bool = False
    accounted: bool = True


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A model call as stored. `step_number` is 0 for the planner, whose rounds are its attempts. Times are epoch
    milliseconds, `ended_ms` 0 while the call is open. `usage` is the worst case until the call is settled.
    """

    step_number: int
    attempt: int
    number: int
    state: CallState
    agent: str
    model: str
    endpoint: str
    usage: Usage
    started_ms: int
    ended_ms: int
    prompt: bytes = b""
    response: bytes = b""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What was used: by day, agent and model for a tenant, by step, agent and model for a task. `model` is empty for
    what agents reported by themselves, `step_number` 0 for the planner and in rows of tenants.
    """

    agent: str
    model: str
    usage: Usage
    calls: int
    day: str = ""
    step_number: int = 0


@dataclass(frozen=True, slots=True)
class TenantBudget:
    """What a tenant may spend, 0 for no limit, and what it has; in millionths of a US dollar."""

    max_total_microusd: int = 0
    max_day_microusd: int = 0
    spent_total_microusd: int = 0
    spent_day_microusd: int = 0
    reserved_microusd: int = 0


@dataclass(frozen=True, slots=True)
class LimitRecord:
    """A limit: what an operator set, what was learned of the provider (0: nothing), who holds permits and who waits.
    `blocked_until_ms` is in epoch milliseconds, 0 unless it lies ahead; `slowed` is the part of its rates that is used
    after the provider has refused calls, 1 for all.
    """

    name: str
    rates: Rates
    learned: Rates
    held: int
    waiting: int
    blocked_until_ms: int
    slowed: float = 1.0
