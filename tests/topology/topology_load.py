"""Load that goes on through a failover, as clients, workers and dispatchers do: whatever is Unavailable is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from ledger_hand import Hand, succeeded
from ledger_plans import chain, graph, new_task

from waybill.cancellation import cancel_all
from waybill.errors import NotFound, Unavailable
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted, NewTask

Reply = TypeVar("Reply")
PATIENCE_SECONDS = 60.0
BREATH_SECONDS = 0.02


async def patiently(call: Callable[[], Awaitable[Reply]]) -> Reply:
    """Repeat a call until the store is there."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(BREATH_SECONDS)


class Load:
    """Clients that submit without end, one worker that runs whatever there is, and a dispatcher's ticks."""

    def __init__(self, ledger: Ledger, *, clients: int = 4) -> None:
        self.ledger = ledger
        self.accepted: dict[str, NewTask] = {}
        self.refusals: set[str] = set()
        self.hand = Hand(ledger)
        self._clients = clients

    async def submit(self) -> str:
        """Submit a task under one request id until it is accepted; each try is a fresh task of that request."""
        first = new_task(graph(chain(2)))

        async def once() -> Accepted:
            task = new_task(graph(chain(2)), request_id=first.request_id)
            (result,) = await self.ledger.submit([task])
            if isinstance(result, Unavailable):
                self.refusals.add(result.reason)
                raise result
            assert isinstance(result, Accepted), result
            return result

        accepted = await patiently(once)
        self.accepted[accepted.task] = first
        return accepted.task

    async def _submit_for_ever(self) -> None:
        while True:
            await self.submit()
            await asyncio.sleep(0)

    async def _tick_for_ever(self) -> None:
        while True:
            await patiently(self.ledger.tick)
            await asyncio.sleep(0.05)

    async def _work_for_ever(self) -> None:
        """A worker's rules: a call without a reply is made again as it was; who is not known starts over."""
        await patiently(self.hand.register)
        while True:
            try:
                await patiently(self._turn)
            except NotFound:
                await patiently(self.hand.restart)
            await asyncio.sleep(0)

    async def _turn(self) -> None:
        for lost in (await self.hand.renew()).lost:
            self.hand.held.pop(lost, None)
        if self.hand.unanswered is not None:
            await self.hand.repeat()
        await self.hand.wait()
        await self.hand.exchange(*map(succeeded, list(self.hand.held.values())))

    @asynccontextmanager
    async def running(self) -> Any:
        """All of them at work; the clients stop at the end, and the rest once every accepted task has ended."""
        workers = [asyncio.create_task(part()) for part in (self._work_for_ever, self._tick_for_ever)]
        clients = [asyncio.create_task(self._submit_for_ever()) for _ in range(self._clients)]
        try:
            yield
            assert not any(task.done() for task in (*clients, *workers)), "somebody gave up"
            await cancel_all(clients)
            await self.ended(list(self.accepted))
            assert not any(task.done() for task in workers), "somebody gave up"
        finally:
            await cancel_all([*clients, *workers])

    async def ended(self, tasks: Sequence[str]) -> None:
        """Wait until each of these tasks has ended. Fails at once if one does not exist."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                records = await patiently(lambda: self.ledger.tasks(tasks))
                lost = [task for task, record in zip(tasks, records, strict=True) if record is None]
                assert not lost, f"{len(lost)} accepted tasks of {len(tasks)} are lost: {lost[:5]}"
                if all(record is not None and record.state.ended for record in records):
                    return
                await asyncio.sleep(BREATH_SECONDS)

    async def more(self, count: int) -> None:
        """Wait until so many more tasks are accepted."""
        wanted = len(self.accepted) + count
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.accepted) < wanted:
                await asyncio.sleep(BREATH_SECONDS)
