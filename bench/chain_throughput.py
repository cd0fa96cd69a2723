"""How many steps a second when each waits for the one before? Two hundred chains of ten at a time."""

from __future__ import annotations

from collections.abc import Sequence

from load import Bench, chain, measured_waves, plan_of, running_bench
from measurement import Measured, Scale

CHAINS = 200
STEPS = 10
PLAN = plan_of(chain(STEPS))


async def measure(scale: Scale) -> Sequence[Measured]:
    """On a suite of its own."""
    async with running_bench() as bench:
        return await measure_on(bench, scale)


async def measure_on(bench: Bench, scale: Scale) -> Sequence[Measured]:
    """Steps a second."""
    return await measured_waves(bench, scale, PLAN, scale.count(CHAINS))
