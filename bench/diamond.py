"""How many steps a second where two wait for one and one for both? Two thousand such diamonds at a time."""

from __future__ import annotations

from collections.abc import Sequence

from load import Bench, measured_waves, plan_of, running_bench
from measurement import Measured, Scale

DIAMONDS = 2_000
STEPS = 4
PLAN = plan_of({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench() as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """Steps a second."""
    return await measured_waves(bench, scale, PLAN, scale.count(DIAMONDS))
