"""What do limits and budgets cost? Writes `results/limits.json`.

On a suite of two workers that run other steps meanwhile, milliseconds of the ledger's own calls: `reserve` takes a
permit of a model's endpoint and reserves money of a task's budget, `settle` puts what was used in the place of both,
`step with a permit` claims a step under three limits and `step` one under none. `fsync` is a plain write of one byte:
what every one of them waits for at least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from load import ONE_STEP, Bench, running_bench
from measurement import machine, percentile, rounded

from waybill.cancellation import cancel_all
from waybill.core.budget import Budget
from waybill.core.plan import AgentSchema, Plan, PlanStep
from waybill.core.task import Usage
from waybill.core.validation import link
from waybill.errors import WaybillError
from waybill.ledger.call_records import CallOpening, CallVerdict, Rates
from waybill.ledger.ledger import Ledger, new_task_id
from waybill.ledger.records import AgentOffer, Grant, NewTask, Outcome, Settlement, WorkerOffer

RESULTS = Path(__file__).resolve().parent / "results" / "limits.json"
LOAD_TASKS, LOAD_PAUSE_SECONDS = 20, 0.1
"""Tasks that come at once, and how long after the last ones have ended the next come."""
MANY = 1_000_000_000
WORST = Usage(1_000, 500, 1_000)
USED = Usage(900, 300, 700)
Result = TypeVar("Result")


class Caller:
    """A worker by hand, whose calls of the ledger are timed, one after the other."""

    def __init__(self, ledger: Ledger) -> None:
        self.times_ms: dict[str, list[float]] = {}
        self._ledger = ledger
        self._id = f"limits.{uuid.uuid4().hex[:10]}"
        self._seq = 0

    async def register(self) -> None:
        """Announce the two agents that only this worker runs."""
        offers = tuple(AgentOffer(name, "", '{"type": "object"}', "") for name in ("limited", "unlimited"))
        await self._ledger.register(WorkerOffer(self._id, "limits", "127.0.0.1:1", 1, offers))

    async def timed(self, what: str, call: Awaitable[Result]) -> Result:
        """What a call comes to; its time is noted."""
        began = time.perf_counter()
        result = await call
        self.times_ms.setdefault(what, []).append((time.perf_counter() - began) * 1000)
        return result

    async def step(self, what: str, agent: str) -> Grant:
        """Claim the one step of an agent that there is."""
        self._seq += 1
        seq, seen = self._seq, self._seq - 1
        reply = await self.timed(what, self._ledger.exchange(self._id, seq, seen, (), (), (agent,), 1))
        (grant,) = reply.grants
        return grant

    async def end(self, grant: Grant) -> None:
        """The step succeeds."""
        self._seq += 1
        settled = (Settlement(grant.ref, Outcome.SUCCEEDED, b"1", run_ms=1),)
        await self._ledger.exchange(self._id, self._seq, self._seq - 1, settled, (), ("limited",), 0)

    async def call_model(self, grant: Grant) -> None:
        """Reserve and settle, as a model call does."""
        opening = CallOpening(1, uuid.uuid4().hex, "model", "bench", WORST, Rates(10_000, MANY, MANY))
        decision = await self.timed("reserve", self._ledger.begin_call(self._id, grant.ref, opening))
        assert decision.verdict is CallVerdict.GO, decision
        assert await self.timed("settle", self._ledger.end_call(grant.ref, 1, USED))

    async def beat(self) -> None:
        """Stay alive for good."""
        while True:
            await self._ledger.renew(self._id, 0, ())
            await asyncio.sleep(0.5)


def _new_task(agent: str) -> NewTask:
    graph = link(
        Plan((PlanStep("only", agent, limits=("crm", "mail") if agent == "limited" else ()),)),
        {agent: AgentSchema(agent, "", '{"type": "object"}')},
    )
    own = uuid.uuid4().hex
    return NewTask(new_task_id(), "default", own, own, graph=graph, budget=Budget(MANY))


async def _load(bench: Bench) -> None:
    while True:
        await bench.wave(ONE_STEP, LOAD_TASKS)
        await asyncio.sleep(LOAD_PAUSE_SECONDS)


async def measure(rounds: int) -> dict[str, Sequence[float]]:
    """Milliseconds by what was called."""
    async with running_bench() as bench:
        ledger = Ledger(bench.running.store_url)
        caller = Caller(ledger)
        for name in ("agent:limited", "key:crm", "key:mail"):
            await ledger.set_limit(name, Rates(10_000, MANY))
        await caller.register()
        jobs = [asyncio.create_task(job) for job in (_load(bench), caller.beat())]
        try:
            for _ in range(rounds):
                for what, agent in (("step with a permit", "limited"), ("step", "unlimited")):
                    (accepted,) = await ledger.submit([_new_task(agent)])
                    assert not isinstance(accepted, WaybillError), accepted
                    grant = await caller.step(what, agent)
                    if agent == "limited":
                        await caller.call_model(grant)
                    await caller.end(grant)
                await caller.timed("fsync", asyncio.to_thread(bench.running.store.set, "bench", "1"))
        finally:
            await cancel_all(jobs)
            await ledger.close()
    return caller.times_ms


def summary(times_ms: dict[str, Sequence[float]]) -> list[dict[str, Any]]:
    """One object for each kind of call."""
    return [
        {
            "bench": "limits",
            "call": what,
            "calls": len(values),
            "p50_ms": rounded(percentile(values, 50)),
            "p99_ms": rounded(percentile(values, 99)),
            "p99_of_fsync": rounded(percentile(values, 99) / percentile(times_ms["fsync"], 99)),
            "machine": machine(),
        }
        for what, values in times_ms.items()
    ]


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2_000)
    rows = summary(dict(asyncio.run(measure(parser.parse_args().rounds))))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
