"""The starts of attempts, in bunches: between two of them the loop gets to what else it has to do."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

FIRST_BUNCH = 16
MOST_AT_ONCE = 128
SHORT_BUNCH_SECONDS = 0.002
LONG_BUNCH_SECONDS = 0.010
"""A bunch that held the loop for so long is followed by a smaller one, and not waited for by what has ended."""


class Startable(Protocol):
    """What is started."""

    def begin(self, context: contextvars.Context) -> None:
        """Have it run, soon, in a context of its own."""

    def watch(self) -> None:
        """It has run until it first had to wait, or has ended."""


def _do_nothing() -> None:
    """Nobody has to know."""


class Starts:
    """Starts attempts in the order in which they come. Used from the loop's thread alone.

    `on_quiet` is called whenever all that were started have either ended or begun to wait, and when that takes long.
    """

    def __init__(self) -> None:
        self.on_quiet: Callable[[], None] = _do_nothing
        self._clean = contextvars.copy_context()
        self._waiting: deque[Startable] = deque()
        self._begun: list[Startable] = []
        self._begun_at = 0.0
        self._most = FIRST_BUNCH
        self._turning = False
        self._slow = False

    @property
    def gathering(self) -> bool:
        """Whether more is likely to have ended in a moment."""
        return self._turning and not self._slow

    def add(self, attempt: Startable) -> None:
        """Start one: at once if no other is being started."""
        self._waiting.append(attempt)
        if not self._turning:
            self._turning, self._slow = True, False
            self._begin(1)

    def _begin(self, count: int) -> None:
        self._begun_at = time.perf_counter()
        for _ in range(count):
            attempt = self._waiting.popleft()
            # What one attempt does to its context is nothing to the next.
            attempt.begin(self._clean.copy())
            self._begun.append(attempt)
        # After the first part of each: the loop keeps their order.
        asyncio.get_running_loop().call_soon(self._turn, context=self._clean)

    def _turn(self) -> None:
        begun, self._begun = self._begun, []
        for attempt in begun:
            attempt.watch()
        took_seconds = time.perf_counter() - self._begun_at
        self._slow = took_seconds > LONG_BUNCH_SECONDS
        if self._slow:
            self._most = max(1, len(begun) // 2)
        elif took_seconds < SHORT_BUNCH_SECONDS and len(begun) == self._most:
            self._most = min(MOST_AT_ONCE, 2 * self._most)
        if self._waiting:
            self._begin(min(self._most, len(self._waiting)))
        else:
            self._turning = False
        if self._slow or not self._turning:
            self.on_quiet()
