"""The waits between attempts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.core.plan import RetryPolicy
from waybill.core.retry import backoff_ms, may_retry

POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    initial_backoff_ms=st.integers(0, 3_600_000),
    max_backoff_ms=st.integers(0, 86_400_000),
    multiplier=st.floats(1.0, 10.0),
)
RANDOM = st.floats(0.0, 1.0, exclude_max=True)


@pytest.mark.parametrize(
    ("tries", "random", "expected_ms"),
    [
        (1, 0.0, 500),
        (2, 0.0, 1_000),
        (3, 0.0, 2_000),
        (7, 0.0, 30_000),
        (100, 0.0, 30_000),
        (2, 0.5, 750),
        (1, 0.999, 250),
    ],
)
def test_the_default_policy_doubles_up_to_its_maximum(tries: int, random: float, expected_ms: int) -> None:
    assert backoff_ms(RetryPolicy(), tries, random) == expected_ms


@given(POLICIES, st.integers(1, 100), RANDOM)
def test_a_wait_lies_between_half_and_all_of_the_full_wait(policy: RetryPolicy, tries: int, random: float) -> None:
    full_ms = backoff_ms(policy, tries, 0.0)
    assert full_ms // 2 <= backoff_ms(policy, tries, random) <= full_ms <= policy.max_backoff_ms


@given(POLICIES, st.integers(1, 99), RANDOM)
def test_waits_never_shrink_from_one_failure_to_the_next(policy: RetryPolicy, tries: int, random: float) -> None:
    assert backoff_ms(policy, tries, random) <= backoff_ms(policy, tries + 1, random)


def test_a_step_is_tried_as_often_as_its_policy_says() -> None:
    assert [may_retry(RetryPolicy(max_attempts=3), tries) for tries in (1, 2, 3)] == [True, True, False]
