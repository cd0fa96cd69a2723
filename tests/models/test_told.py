"""What headers tell of limits."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.core.limits import MAX_RETRY_AFTER_MS
from waybill.models.told import Told, duration_ms, retry_after_ms, told_in


@pytest.mark.parametrize(
    ("said", "ms"),
    [
        ("1s", 1000), ("6m0s", 360_000), ("120ms", 120), ("1h2m3.5s", 3_723_500), ("2d", MAX_RETRY_AFTER_MS),
        ("7.66s", 7660), ("12", 12_000), ("0", 0), ("", None), (None, None), ("soon", None), ("-5s", None), ("m", None),
    ],
)  # fmt: skip
def test_given_a_duration_when_read_then_it_is_milliseconds(said: str | None, ms: int | None) -> None:
    assert duration_ms(said) == ms


def test_given_a_date_when_read_then_it_is_the_time_until_then() -> None:
    then = time.time() + 100

    assert 95_000 < retry_after_ms({"retry-after": formatdate(then, usegmt=True)}) <= 100_000
    assert retry_after_ms({"retry-after": formatdate(1, usegmt=True)}) == 0


@pytest.mark.parametrize(
    ("headers", "ms"),
    [
        ({"retry-after": "3"}, 3000), ({"retry-after": "0.5"}, 500), ({"retry-after-ms": "20", "retry-after": "1"}, 20),
        ({"retry-after": "-1"}, 0), ({"retry-after": "nan"}, 0), ({"retry-after": "1e99"}, MAX_RETRY_AFTER_MS), ({}, 0),
        ({"retry-after": "Wed, 99 Foo 2026"}, 0),
    ],
)  # fmt: skip
def test_given_a_wait_when_read_then_it_is_bounded(headers: dict[str, str], ms: int) -> None:
    assert retry_after_ms(headers) == ms


def test_given_limits_when_read_then_all_are_known() -> None:
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-remaining-tokens": "oops",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-reset-tokens": "6m0s",
    }

    assert told_in(headers, throttled=True) == Told(500, 30_000, 499, None, 120, 360_000, 0, True)
    assert told_in({}) == Told()


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-limit-requests",
    "x-ratelimit-reset-tokens"]), st.text(max_size=30)))  # fmt: skip
def test_given_anything_when_read_then_it_is_in_bounds_or_not_said(headers: dict[str, str]) -> None:
    told = told_in(headers)

    assert 0 <= told.retry_after_ms <= MAX_RETRY_AFTER_MS
    assert told.requests_per_minute is None or told.requests_per_minute >= 0
    assert told.reset_tokens_ms is None or 0 <= told.reset_tokens_ms <= MAX_RETRY_AFTER_MS
