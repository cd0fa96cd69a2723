"""Owns the look after processes that run: one that answers no more is replaced, and what dead ones left is reaped.

A process that answers is left alone, whatever it answers: one that the store is silent to is not mended by a restart,
and would only lose the steps that it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence

import psutil

from waybill.cli.child import Child

LOOK_SECONDS = 5.0
STUCK_LOOKS = 4
"""So many looks in a row without an answer mean that a process is stuck: about 35 seconds, as each waits 4 for one. The
services themselves end after 30 if it is their loop that is held.
"""


class Caretaker:
    """Looks at children until cancelled. `notify` is told of each that is replaced."""

    def __init__(
        self, children: Sequence[Child], notify: Callable[[str], None], *, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._children = children
        self._notify = notify
        self._look_seconds = look_seconds
        self._unanswered: dict[tuple[str, int], int] = {}
        self._zombies: set[int] = set()

    async def run(self) -> None:
        """Look, again and again."""
        while True:
            await asyncio.sleep(self._look_seconds)
            await asyncio.gather(*(self._look_at(child) for child in self._children))
            self._reap()

    async def _look_at(self, child: Child) -> None:
        answers, pid = child.spec.answers, child.pid
        if answers is None or pid is None or not child.ready:
            return
        process = (child.spec.name, pid)
        if await answers():
            self._unanswered.pop(process, None)
            return
        looks = self._unanswered[process] = self._unanswered.get(process, 0) + 1
        if looks >= STUCK_LOOKS and child.pid == pid:
            del self._unanswered[process]
            self._notify(f"{child.spec.name} does not answer any more; replacing it")
            child.replace()

    def _reap(self) -> None:
        """Reap orphans that were handed to us. What has just died may be a child whose end is being waited for, so a
        zombie is taken only when it is seen for the second time.
        """
        ours = {child.pid for child in self._children}
        seen = set()
        for process in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE and process.pid not in ours:
                    seen.add(process.pid)
        for pid in seen & self._zombies:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._zombies = seen
