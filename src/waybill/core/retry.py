"""How long a failed step waits before its next attempt: the reference for the ledger, which does the same in Lua."""

from __future__ import annotations

import math

from waybill.core.plan import RetryPolicy


def backoff_ms(policy: RetryPolicy, tries: int, random: float, retry_after_ms: int = 0) -> int:
    """Milliseconds to wait after the failure number `tries` (from 1) of a step.

    The wait starts at `initial_backoff_ms`, grows by `multiplier` with each failure and never exceeds
    `max_backoff_ms`; then a part of up to `jitter` is taken off: `random`, from 0.0 up to 1.0, says how much of that
    part, so that steps that failed together do not come back together. A wait that the agent asked for is never
    shortened. Rounded down.
    """
    wait_ms = min(policy.initial_backoff_ms * policy.multiplier ** (tries - 1), float(policy.max_backoff_ms))
    return max(retry_after_ms, math.floor(wait_ms * (1 - random * policy.jitter)))


def may_retry(policy: RetryPolicy, tries: int, reason: str = "") -> bool:
    """Whether a step that has failed `tries` times, the last time for `reason`, gets another attempt."""
    return tries < policy.max_attempts and reason not in policy.final_reasons
