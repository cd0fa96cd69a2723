"""The schedule of faults comes from the seed alone, and is worth its time."""

from __future__ import annotations

from collections import Counter

import pytest

from chaos.injector import KINDS, QUIET_END_SECONDS, START_UP_SECONDS, Deed, schedule

PROCESSES = {
    "store": "store",
    "planner": "planner",
    **{f"{kind}-{number}": kind for kind in ("dispatcher", "worker", "gateway") for number in (1, 2)},
}
LINKS = [f"link-{number}" for number in range(14)]


def test_a_seed_always_makes_the_same_faults_and_another_seed_others() -> None:
    assert schedule(7, 60, PROCESSES, LINKS) == schedule(7, 60, dict(reversed(PROCESSES.items())), LINKS[::-1])
    assert schedule(7, 60, PROCESSES, LINKS) != schedule(8, 60, PROCESSES, LINKS)


@pytest.mark.parametrize("duration_seconds", [10, 45, 120])
@pytest.mark.parametrize("seed", range(20))
def test_every_kind_is_killed_and_nobody_twice_at_once(seed: int, duration_seconds: int) -> None:
    faults = schedule(seed, duration_seconds, PROCESSES, LINKS)
    killed = {PROCESSES[fault.target] for fault in faults if fault.deed is Deed.KILL}
    assert killed == set(KINDS)
    assert list(faults) == sorted(faults, key=lambda fault: fault.at_seconds)
    assert faults[-1].at_seconds <= duration_seconds - QUIET_END_SECONDS
    free_at = dict.fromkeys(PROCESSES, 0.0)
    for fault in faults:
        if fault.target in PROCESSES:
            assert fault.at_seconds >= free_at[fault.target]
            free_at[fault.target] = fault.at_seconds + fault.seconds + START_UP_SECONDS


def test_a_long_schedule_has_every_deed() -> None:
    assert set(Counter(fault.deed for fault in schedule(1, 120, PROCESSES, LINKS))) == set(Deed)
