"""Schedules with real dispatchers that are killed: no due time is left out, and none is fired twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from waybill.api.v1 import task_pb2
from waybill.core.recurrence import Recurrence
from waybill.core.schedule import GRACE_MS, CatchUp, Firing, FiringOutcome, Overlap, Terms
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentOffer, Request, TaskFilter, WorkerOffer
from waybill.ledger.schedule_records import NewSchedule

TENANT = "default"
SECOND_MS = 1_000
SPEC = task_pb2.TaskSpec(plan=task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")]))
OUTAGE_SECONDS = GRACE_MS / SECOND_MS + 3

TELLING_MS = 500
"""How long after a firing was decided, by the time its schedule was leased at, the store writes that down, at most."""


class Dispatchers:
    """Dispatcher processes over one store."""

    def __init__(self, url: str, port: Callable[[], int]) -> None:
        self._url, self._port = url, port
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """One more."""
        environment = {
            **os.environ,
            "WAYBILL_REDIS_URL": self._url,
            "WAYBILL_DISPATCHER_GRPC_PORT": str(self._port()),
            "WAYBILL_DISPATCHER_METRICS_PORT": "0",
        }
        command = [sys.executable, "-m", "waybill_dispatcher"]
        self._running.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))

    def kill(self) -> None:
        """kill -9 the oldest one."""
        process = self._running.pop(0)
        process.kill()
        process.wait()

    def kill_all(self) -> None:
        """kill -9 whatever runs."""
        while self._running:
            self.kill()


@pytest.fixture
def dispatchers(embedded_url: str, unused_port: Callable[[], int]) -> Iterator[Dispatchers]:
    """No dispatcher yet."""
    processes = Dispatchers(embedded_url, unused_port)
    yield processes
    processes.kill_all()


@pytest.fixture
async def store(embedded_url: str) -> AsyncIterator[Ledger]:
    """The store, in which an agent is announced."""
    ledger = Ledger(embedded_url)
    await ledger.connect()
    await ledger.register(
        WorkerOffer("w.1", "w", "127.0.0.1:1", 1, (AgentOffer("echo", "", '{"type":"object"}', "", 1),))
    )
    yield ledger
    await ledger.close()


class Seen:
    """All firings that a schedule ever told, by the time they were due."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.firings: dict[int, Firing] = {}

    async def look(self) -> None:
        """Take what is told now; a run of missed ones is told as its newest."""
        for firing in (await self._ledger.schedule(TENANT, "often")).firings:
            known = self.firings.get(firing.due_ms)
            assert known is None or known.outcome is firing.outcome, "what was decided stays"
            self.firings[firing.due_ms] = firing

    async def until(self, reached: Callable[[], bool]) -> None:
        """Look until something holds."""
        async with asyncio.timeout(60):
            while not reached():
                await self.look()
                await asyncio.sleep(0.2)

    def submitted(self) -> list[int]:
        """Due times that have a task, oldest first."""
        return sorted(due for due, firing in self.firings.items() if firing.outcome is FiringOutcome.SUBMITTED)

    def missed(self) -> int:
        """How many were missed."""
        return sum(firing.count for firing in self.firings.values() if firing.outcome is FiringOutcome.MISSED)


@pytest.mark.parametrize("catch_up", [CatchUp.LATEST, CatchUp.ALL, CatchUp.NONE])
async def test_given_dispatchers_that_are_killed_when_they_are_back_then_no_firing_is_left_out_or_doubled(
    store: Ledger, dispatchers: Dispatchers, catch_up: CatchUp
) -> None:
    dispatchers.start()
    dispatchers.start()
    now_ms = await store.now_ms()
    terms = Terms(Recurrence(interval_ms=SECOND_MS, anchor_ms=now_ms), Overlap.ALLOW, catch_up)
    first_ms = now_ms + SECOND_MS
    await store.create_schedule(
        NewSchedule(TENANT, "often", terms, SPEC.SerializeToString()),
        "same",
        paused=False,
        created_ms=now_ms,
        next_ms=first_ms,
        request=Request(TENANT, "r"),
    )
    seen = Seen(store)
    await seen.until(lambda: len(seen.submitted()) >= 3)
    dispatchers.kill()
    before = len(seen.submitted())
    await seen.until(lambda: len(seen.submitted()) >= before + 3)
    dispatchers.kill_all()
    await seen.look()
    last_before_ms = seen.submitted()[-1]
    await asyncio.sleep(OUTAGE_SECONDS)
    dispatchers.start()
    dispatchers.start()
    back_ms = await store.now_ms()
    await seen.until(lambda: seen.submitted()[-1] > back_ms + 2 * SECOND_MS)
    dispatchers.kill_all()
    await seen.look()

    submitted = seen.submitted()
    due = list(range(first_ms, submitted[-1] + 1, SECOND_MS))
    assert len(submitted) + seen.missed() == len(due), "every due time was decided"
    assert set(submitted) <= set(due)
    assert len({seen.firings[time_ms].task for time_ms in submitted}) == len(submitted)
    tasks, _ = await store.list_tasks(TENANT, 1_000, wanted=TaskFilter(labels={"waybill.schedule": "often"}))
    assert {task.id for task in tasks} == {seen.firings[time_ms].task for time_ms in submitted}

    # The first one after the outage is what the policy makes of it.
    after_ms = next(time_ms for time_ms in submitted if time_ms > last_before_ms)
    late_ms = seen.firings[after_ms].decided_ms - after_ms
    if catch_up is CatchUp.NONE:
        assert late_ms < GRACE_MS + TELLING_MS
    else:
        assert late_ms >= GRACE_MS
    if catch_up is CatchUp.ALL:
        assert seen.missed() == 0
    else:
        assert after_ms > last_before_ms + SECOND_MS
