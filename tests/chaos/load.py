"""The load: many clients that submit, repeat, watch, cancel and steer tasks through whatever happens to the suite."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.browser import browse
from chaos.console import say
from chaos.history import Promise, Seen, Watched
from chaos.scenarios import Scenario, scenario
from waybill.client import Client
from waybill.core.budget import Budget
from waybill.core.task import TaskState
from waybill.errors import FailedPrecondition, WaybillError

TASKS_AT_ONCE = 64
TASKS_A_SECOND = 45.0
TENANT = "chaos"
LONG_DRAIN_SECONDS = 10.0
"""A drain that takes longer says what it waits for."""


class Load:
    """Runs scenarios until stopped. `promises` are the tasks that were accepted; `errors` what clients were told
    besides, which should be nothing."""

    def __init__(self, clients: Sequence[Client], http_gateways: Sequence[str], seed: int, folder: Path) -> None:
        self.promises: list[Promise] = []
        self.errors: list[str] = []
        self._clients = clients
        self._http_gateways = http_gateways
        self._seed = seed
        self._folder = folder
        self._driving: set[asyncio.Task[None]] = set()

    async def run(self, duration_seconds: float) -> None:
        """Start tasks for so long, as fast as they end and the pace allows. What runs then goes on."""
        slots = asyncio.Semaphore(TASKS_AT_ONCE)
        end, number = time.monotonic() + duration_seconds, 0
        while time.monotonic() < end:
            await asyncio.sleep(1 / TASKS_A_SECOND)
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    await slots.acquire()
            except TimeoutError:
                return
            driving = asyncio.create_task(self._drive(number))
            self._driving.add(driving)
            driving.add_done_callback(self._driving.discard)
            driving.add_done_callback(lambda _: slots.release())
            number += 1

    async def drain(self, seconds: float) -> None:
        """Wait until every client is content, or for so long; then give up on the others."""
        if self._driving:
            _, late = await asyncio.wait(self._driving, timeout=min(seconds, LONG_DRAIN_SECONDS))
            if late:
                say(f"still waiting for {len(late)} clients: {'; '.join(self.unfinished[:5])}")
                _, late = await asyncio.wait(late, timeout=seconds - LONG_DRAIN_SECONDS)
            for driving in late:
                driving.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _drive(self, number: int) -> None:
        rng = random.Random(f"client:{self._seed}:{number}")
        made = scenario(self._seed, number, self._folder)
        promise = Promise(made, f"chaos-{self._seed}-{number}")
        client, other = rng.sample(self._clients, 2)
        try:
            await self._submit(client, promise)
        except WaybillError as error:
            self._note(promise, error)
            return
        doing = [self._follow(client, promise, Watched("grpc"))]
        if rng.random() < 0.3:
            doing.append(self._follow(other, promise, Watched("late grpc"), rng.uniform(0.0, 2.0)))
        if rng.random() < 0.3:
            doing.append(self._browse(promise))
        if rng.random() < 0.3:
            doing.append(self._repeat(other, promise, rng.uniform(0.0, 1.0)))
        doing += self._steering(other, promise)
        for outcome in await asyncio.gather(*doing, return_exceptions=True):
            if isinstance(outcome, Exception):
                self._note(promise, outcome)

    @property
    def unfinished(self) -> list[str]:
        """Watchers that have not seen the end yet, each with its task and scenario."""
        return [
            f"{promise.task} ({promise.scenario.name}), {watched.by} at event {len(watched.seen)}"
            for promise in self.promises
            for watched in promise.watched
            if not watched.ended
        ]

    def _note(self, promise: Promise, error: Exception) -> None:
        self.errors.append(f"{promise.request_id} ({promise.scenario.name}): {told(error)}")

    async def _submit(self, client: Client, promise: Promise) -> None:
        made = promise.scenario
        more: dict[str, Any] = {"deadline_ms": made.deadline_ms} if made.deadline_ms else {}
        if made.budget_microusd:
            more["budget"] = Budget(made.budget_microusd, made.on_limit)
        task = await client.submit(
            goal=made.goal,
            plan=made.plan,
            documents=made.documents,
            priority=made.priority,
            labels={"scenario": made.name, "request": promise.request_id},
            request_id=promise.request_id,
            **more,
        )
        if not promise.answers:
            self.promises.append(promise)
        promise.answers.append(task.name)

    async def _repeat(self, client: Client, promise: Promise, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        await self._submit(client, promise)

    async def _follow(self, client: Client, promise: Promise, watched: Watched, after_seconds: float = 0.0) -> None:
        await asyncio.sleep(after_seconds)
        promise.watched.append(watched)
        async for event in client.watch(promise.task):
            watched.seen.append(Seen.of(event))
        watched.ended = True

    async def _browse(self, promise: Promise) -> None:
        watched = Watched("http")
        promise.watched.append(watched)
        async for shown in browse(self._http_gateways, promise.task, TENANT):
            watched.seen.append(Seen.of_json(shown))
        watched.ended = True

    def _steering(self, client: Client, promise: Promise) -> list[Any]:
        made = promise.scenario
        steering = []
        if made.cancel_after_seconds is not None:
            steering.append(self._cancel(client, promise, made.cancel_after_seconds))
        if made.pause_after_seconds is not None:
            steering.append(self._pause(client, promise, made))
        if made.mend is not None:
            steering.append(self._mend(client, promise, made.mend))
        if made.answer is not None:
            steering.append(self._answer(client, promise, made.answer))
        return steering

    async def _cancel(self, client: Client, promise: Promise, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        with contextlib.suppress(FailedPrecondition):  # it ended first
            await client.cancel(promise.task)
            promise.cancelled = True

    async def _pause(self, client: Client, promise: Promise, made: Scenario) -> None:
        steering: Any = client
        await asyncio.sleep(made.pause_after_seconds or 0.0)
        with contextlib.suppress(FailedPrecondition):  # it ended first
            await steering.pause(promise.task)
            await asyncio.sleep(made.pause_seconds)
            await steering.resume(promise.task)

    async def _mend(self, client: Client, promise: Promise, switch: Path) -> None:
        steering: Any = client
        while (await client.get(promise.task)).state is not TaskState.FAILED:
            await asyncio.sleep(0.2)
        switch.touch()
        await steering.retry(promise.task)
        await self._follow(client, promise, Watched("after retry"))

    async def _answer(self, client: Client, promise: Promise, answer: Any) -> None:
        steering: Any = client
        while not any(str(step.state) == "waiting" for step in await client.steps(promise.task)):
            if (await client.get(promise.task)).state.ended:
                return
            await asyncio.sleep(0.2)
        await steering.answer(promise.task, "ask", answer)


def told(error: BaseException) -> str:
    """An error as a client sees it."""
    if isinstance(error, WaybillError):
        return f"{type(error).__name__} {error.code.name} {error.reason}: {error.message}"
    return f"{type(error).__name__}: {error}"
