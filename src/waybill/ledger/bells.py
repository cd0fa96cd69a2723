"""Doorbells: who waits for news of a task is woken when the ledger writes some.

A ring carries no data and may be lost or doubled: after waking, and now and then without, read the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Literal

from waybill.errors import WaybillError
from waybill.ledger import keys
from waybill.ledger.connection import Store
from waybill.ledger.listener import Listener
from waybill.telemetry.logs import get_logger

_log = get_logger(__name__)

PLANNING = "planning"
"""The bell that rings when a task waits for a plan."""
DECISIONS = "decisions"
"""The bell that rings when the conditions of a step are to be looked at."""
REVISIONS = "revising"
"""The bell that rings when the plan of a task is to be revised."""
SCHEDULES = "schedules"
"""The bell that rings when a schedule is set, or a firing of one need not wait any more."""
FEED = "feed:"
"""With a tenant's name behind it, the bell that rings when tasks of that tenant have ended."""
_RECONNECT_SECONDS = 0.25


class Bells:
    """One publish/subscribe connection for all who wait in this process. `run` must be running.

    After the connection broke, or the partition has another owner, everyone is woken once: something may have
    happened unheard.
    """

    def __init__(self, url: str, *, partition: str = "0") -> None:
        self._store = Store(url, partition=partition)
        self._partition = partition
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listener: Listener | None = None

    def _channel(self, name: str) -> str:
        return keys.key(self._partition, "bell", name)

    @asynccontextmanager
    async def listen(self, name: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the bell of a task, or one of those above, rings. The listener clears it."""
        rung = asyncio.Event()
        channel = self._channel(name)
        first = channel not in self._waiting
        self._waiting.setdefault(channel, set()).add(rung)
        try:
            if first:
                await self._tell("subscribe", channel)
            yield rung
        finally:
            self._waiting[channel].discard(rung)
            if not self._waiting[channel]:
                del self._waiting[channel]
                await self._tell("unsubscribe", channel)

    async def _tell(self, verb: Literal["subscribe", "unsubscribe"], channel: str) -> None:
        if self._listener is not None:
            with suppress(WaybillError):
                await getattr(self._listener, verb)(channel)

    async def run(self) -> None:
        """Listen until cancelled, reconnecting whenever the store comes back."""
        while True:
            try:
                await self._listen()
            except WaybillError as error:
                _log.warning("bells are not heard", error=error.message)
            self._wake(self._waiting)
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        async with self._store.listener() as listener:
            await listener.subscribe(self._channel(PLANNING))
            self._listener = listener  # from here on whoever starts to listen subscribes
            try:
                await self._hear(listener)
            finally:
                self._listener = None

    async def _hear(self, listener: Listener) -> None:
        if self._waiting:
            await listener.subscribe(*self._waiting)
        self._wake(self._waiting)
        while True:
            message = await listener.message()
            self._wake([message.channel])

    def wake(self, name: str) -> None:
        """Wake whoever listens to a bell in this process, as if it had rung."""
        self._wake([self._channel(name)])

    def _wake(self, channels: Iterable[str]) -> None:
        for channel in list(channels):
            for rung in self._waiting.get(channel, ()):
                rung.set()

    async def close(self) -> None:
        """Close the connection."""
        await self._store.close()
