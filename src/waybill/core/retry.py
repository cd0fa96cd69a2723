"""How long a failed step waits before its next attempt: the reference for the ledger, which does the same in Lua."""

from __future__ import annotations

import math

from waybill.core.plan import RetryPolicy


def backoff_ms(policy: RetryPolicy, tries: int, random: float) -> int:
    """Milliseconds to wait after the failure number `tries` (from 1) of a step.

    The wait starts at `initial_backoff_ms`, grows by `multiplier` with each failure and never exceeds
    `max_backoff_ms`; then up to half is taken off: `random`, from 0.0 up to 1.0, says how much of that half, so that
    steps that failed together do not come back together. Rounded down.
    """
    wait_ms = min(policy.initial_backoff_ms * policy.multiplier ** (tries - 1), float(policy.max_backoff_ms))
    return math.floor(wait_ms * (1 - random / 2))


def may_retry(policy: RetryPolicy, tries: int) -> bool:
    """Whether a step that has failed `tries` times gets another attempt."""
    return tries < policy.max_attempts
