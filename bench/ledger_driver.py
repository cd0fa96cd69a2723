"""A process that drives the ledger's functions and does nothing else: no gRPC, no agents.

`python ledger_driver.py submit URL AGENT` prints `ready`, and for each line of stdin, a number of tasks, submits so
many and prints when it began. `python ledger_driver.py work URL AGENT NAME` settles whatever steps there are as a
worker would, and for each line of stdin prints how many it has settled so far and when the last. All is JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress

import uvloop

from waybill.core.plan import AgentSchema, Plan, PlanStep
from waybill.core.task import Usage
from waybill.core.validation import link
from waybill.errors import NotFound
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import (
    Accepted,
    AgentOffer,
    Grant,
    NewTask,
    Outcome,
    QueueEntry,
    Settlement,
    WorkerOffer,
)

OUTPUT = b'{"title": "An answer", "score": 0.87, "items": 12}'
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""As tasks have that come through a gateway."""
SUBMITTED_AT_ONCE = 100
LANES = 2
SLOTS = 128
BLOCK_MS = 100


async def submit(ledger: Ledger, agent: str) -> None:
    """Submit as many one-step tasks as each line asks for, a group on its way while the next is being made."""
    step = PlanStep(name="only", agent=agent, input=b"{}")
    graph = link(Plan((step,)), {agent: AgentSchema(agent, "", '{"type": "object"}')})

    def new_task() -> NewTask:
        own = uuid.uuid4().hex
        return NewTask(
            new_task_id(), "default", own, own, graph=graph, labels={"wave": "ledger"}, traceparent=TRACEPARENT
        )

    async def lane(sizes: Sequence[int]) -> None:
        for size in sizes:
            for outcome in await ledger.submit([new_task() for _ in range(size)]):
                if not isinstance(outcome, Accepted):
                    raise outcome

    while line := await asyncio.to_thread(sys.stdin.readline):
        began, whole = time.monotonic(), int(line)
        sizes = [min(SUBMITTED_AT_ONCE, whole - first) for first in range(0, whole, SUBMITTED_AT_ONCE)]
        await asyncio.gather(*(lane(sizes[first::LANES]) for first in range(LANES)))
        print(json.dumps({"began": began}), flush=True)


class Hand:
    """A worker whose steps end at once."""

    def __init__(self, ledger: Ledger, agent: str, name: str) -> None:
        self.settled = 0
        self.last = 0.0
        self._ledger = ledger
        self._agent = agent
        self._id = f"{name}.{uuid.uuid4().hex[:10]}"
        self._name = name

    async def run(self) -> None:
        """Work for good. A machine that is too busy can make us late, and dead; then we begin again."""
        while True:
            offer = AgentOffer(self._agent, "", '{"type": "object"}', "", SLOTS)
            await self._ledger.register(WorkerOffer(self._id, self._name, "127.0.0.1:1", SLOTS, (offer,)))
            with suppress(NotFound):
                await self._exchange_for_good()

    async def _exchange_for_good(self) -> None:
        """Settle and claim; wait on the queues whenever there is nothing to do. Raises NotFound once we are dead."""
        entries: Sequence[QueueEntry] = ()
        held: Sequence[Grant] = ()
        seq = 0
        while True:
            seq += 1
            ended = [Settlement(grant.ref, Outcome.SUCCEEDED, OUTPUT, usage=Usage(), run_ms=1) for grant in held]
            reply = await self._ledger.exchange(self._id, seq, seq - 1, ended, entries, (self._agent,), SLOTS)
            if ended:
                self.settled, self.last = self.settled + len(ended) - len(reply.stale), time.monotonic()
            held, entries = reply.grants, ()
            if not held:
                entries = await self._ledger.wait_for_work(self._id, (self._agent,), BLOCK_MS)

    async def answer(self) -> None:
        """Tell how far it is whenever asked, until stdin ends."""
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps({"settled": self.settled, "last": self.last}), flush=True)


async def main() -> None:
    """Do what the command line says."""
    role, url, agent, *rest = sys.argv[1:]
    ledger = Ledger(url)
    await ledger.connect()
    try:
        print("ready", flush=True)
        if role == "submit":
            await submit(ledger, agent)
            return
        hand = Hand(ledger, agent, rest[0])
        working, answering = asyncio.ensure_future(hand.run()), asyncio.ensure_future(hand.answer())
        done, left = await asyncio.wait({working, answering}, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        for task in done:
            task.result()
    finally:
        await ledger.close()


if __name__ == "__main__":
    uvloop.run(main())
