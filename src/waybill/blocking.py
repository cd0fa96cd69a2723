"""Owns the loop in the background on which a synchronous client's calls run, one thread for one client.

The calling thread waits meanwhile: it may run a loop of its own, as in a notebook, which stands still until then.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar

from waybill.cancellation import cancel_all
from waybill.client import Client
from waybill.errors import FailedPrecondition

Item = TypeVar("Item")
_STOP_SECONDS = 5.0
"""How long an interrupted call, or the loop at its end, may take to let go."""
_END = object()


class Background:
    """Runs what a client does on a loop of its own. Begins with the first call. From any thread."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._process = os.getpid()
        # Taken again by the same thread where garbage is collected, which may be anywhere.
        self._lock = threading.RLock()
        self._loop: concurrent.futures.Future[asyncio.AbstractEventLoop] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, work: Awaitable[Item]) -> Item:
        """Wait for what a call comes to. An interruption, such as Ctrl-C, cancels it.

        Raises what it raises, and `FailedPrecondition` for a client that is closed, was made before a fork, or is
        called from its own loop.
        """
        ended = threading.Event()

        async def whole() -> Item:
            try:
                return await work
            finally:
                ended.set()

        try:
            future = self._begin(whole)
        except BaseException:
            if inspect.iscoroutine(work):
                work.close()
            raise
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise _closed() from None
        except BaseException:
            if not future.done() and future.cancel():
                ended.wait(_STOP_SECONDS)
            raise

    def iterate(self, stream: AsyncIterator[Item]) -> Generator[Item, None, None]:
        """The items of a stream, each taken when it is asked for. Closing the generator ends the stream."""
        try:
            while (item := self.run(_next(stream))) is not _END:
                yield item
        finally:
            if isinstance(stream, AsyncGenerator):
                self.leave(stream.aclose)

    def leave(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have a stream ended, and wait for nothing: a generator may be collected in any thread at any time."""

        async def whole() -> None:
            await close()

        with suppress(FailedPrecondition):  # what a closed client leaves behind has ended already
            self._begin(whole, from_anywhere=True)

    def close(self) -> None:
        """End what is under way, close the connection and end the thread. Again does nothing."""
        if self._process != os.getpid():
            return
        with self._lock:
            already, self._closed = self._closed, True
            if already or self._loop is None or self._loop.exception() is not None:
                return
            loop = self._loop.result()
            loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join(_STOP_SECONDS)

    def _begin(
        self, work: Callable[[], Coroutine[Any, Any, Item]], *, from_anywhere: bool = False
    ) -> concurrent.futures.Future[Item]:
        """Have the loop begin something. The client cannot be closed in between."""
        if self._process != os.getpid():
            raise FailedPrecondition(
                "the client was made before this process was forked, and its connection belongs to the parent: make a "
                "client in each process",
                reason="CLIENT_FORKED",
            )
        if threading.current_thread() is self._thread and not from_anywhere:
            raise FailedPrecondition("a call of a synchronous client waits for the loop that it is made from")
        with self._lock:
            if self._closed:
                raise _closed()
            if self._loop is None:
                self._loop = concurrent.futures.Future()
                arguments = (self._client, self._loop)
                self._thread = threading.Thread(target=_work, args=arguments, name="waybill-client", daemon=True)
                self._thread.start()
            loop = self._loop.result()
            return asyncio.run_coroutine_threadsafe(work(), loop)


def _work(client: Client, started: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
    """What the thread does: the client is open while the loop runs."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        try:
            loop.run_until_complete(client.__aenter__())
        except BaseException as error:
            started.set_exception(error)
            return
        loop.call_soon(started.set_result, loop)
        loop.run_forever()
        loop.run_until_complete(_end(client))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def _end(client: Client) -> None:
    loop = asyncio.get_running_loop()
    await cancel_all(asyncio.all_tasks() - {asyncio.current_task()})
    await loop.shutdown_asyncgens()
    await client.__aexit__(None, None, None)


async def _next(stream: AsyncIterator[Any]) -> Any:
    return await anext(stream, _END)


def _closed() -> FailedPrecondition:
    return FailedPrecondition("the client is closed: make another one, and use it before it is closed")
