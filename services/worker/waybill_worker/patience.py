"""How long to wait before a call is made again while the store is away: a little at first, then up to a second."""

from __future__ import annotations

import asyncio
import random

FIRST_WAIT_SECONDS = 0.02
LONGEST_WAIT_SECONDS = 1.0


class Patience:
    """One run of repeated calls; every wait is about twice the one before."""

    def __init__(self) -> None:
        self.waits = 0

    async def wait(self) -> None:
        """Sleep before the next call."""
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**self.waits)
        self.waits = min(self.waits + 1, 16)
        await asyncio.sleep(longest * (0.5 + random.random() / 2))
