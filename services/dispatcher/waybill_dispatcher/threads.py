"""Threads for calls that can hang: an outside that does not answer holds up neither the loop nor the process's end."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")

_Call = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Threads:
    """A few daemon threads, started when they are needed. An executor's would be waited for at the process's end."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._started = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work` returns or raises, made in one of the threads. If the caller is cancelled before a thread was
        free, it is not made at all.
        """
        if self._started < self._count:
            self._started += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._started}", daemon=True).start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        self._calls.put((work, loop, answer))
        return await answer

    def close(self) -> None:
        """Let the threads end, each when its call has ended; what waits is still made."""
        for _ in range(self._started):
            self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            work, loop, answer = call
            if answer.cancelled():
                continue
            told: Callable[[asyncio.Future[Any], Any], None]
            try:
                told, value = _set_result, work()
            except BaseException as error:
                told, value = _set_exception, error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(told, answer, value)


def _set_result(answer: asyncio.Future[Any], value: Any) -> None:
    if not answer.done():
        answer.set_result(value)


def _set_exception(answer: asyncio.Future[Any], error: Any) -> None:
    if not answer.done():
        answer.set_exception(error)
