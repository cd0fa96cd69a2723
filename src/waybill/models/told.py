"""What a provider tells of its limits, in the headers of its answers."""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from waybill.core.limits import MAX_RETRY_AFTER_MS

_MOST = 10**9
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_UNIT_MS = (86_400_000, 3_600_000, 60_000, 1_000, 1)


@dataclass(frozen=True, slots=True)
class Told:
    """Limits of an endpoint as its answer tells them; None where it says nothing. `throttled` if it refused a call for
    them; `retry_after_ms` is how long it asks not to be asked.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests_ms: int | None = None
    reset_tokens_ms: int | None = None
    retry_after_ms: int = 0
    throttled: bool = False


def told_in(headers: Mapping[str, str], *, throttled: bool = False) -> Told:
    """What the headers tell. What makes no sense is taken for not said."""
    return Told(
        requests_per_minute=_count(headers.get("x-ratelimit-limit-requests")),
        tokens_per_minute=_count(headers.get("x-ratelimit-limit-tokens")),
        remaining_requests=_count(headers.get("x-ratelimit-remaining-requests")),
        remaining_tokens=_count(headers.get("x-ratelimit-remaining-tokens")),
        reset_requests_ms=duration_ms(headers.get("x-ratelimit-reset-requests")),
        reset_tokens_ms=duration_ms(headers.get("x-ratelimit-reset-tokens")),
        retry_after_ms=retry_after_ms(headers),
        throttled=throttled,
    )


def retry_after_ms(headers: Mapping[str, str]) -> int:
    """How long the caller is asked to wait, by `retry-after-ms` or `retry-after` in seconds or as a date; at most a
    day, and 0 if nothing sensible is said.
    """
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return _bounded_ms(exact)
    said = headers.get("retry-after")
    seconds = _number(said)
    if seconds is not None:
        return _bounded_ms(seconds * 1000)
    try:
        date = email.utils.parsedate_to_datetime(said or "")
        return _bounded_ms((date.timestamp() - time.time()) * 1000)
    except (ValueError, OverflowError):
        return 0


def duration_ms(said: str | None) -> int | None:
    """A duration such as `6m0s`, `120ms` or plain seconds."""
    if not said:
        return None
    seconds = _number(said)
    if seconds is not None:
        return _bounded_ms(seconds * 1000)
    found = _DURATION.fullmatch(said.strip())
    if found is None or not any(found.groups()):
        return None
    return _bounded_ms(sum(float(part) * unit for part, unit in zip(found.groups(), _UNIT_MS, strict=True) if part))


def _bounded_ms(amount: float) -> int:
    return min(MAX_RETRY_AFTER_MS, max(0, math.ceil(amount)))


def _number(said: str | None) -> float | None:
    try:
        number = float(said) if said else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _count(said: str | None) -> int | None:
    number = _number(said)
    return int(number) if number is not None and 0 <= number <= _MOST else None
