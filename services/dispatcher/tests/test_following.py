"""Following: a watcher's view is the history, whatever was retried, and whatever the store has lost."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

import grpc
import pytest
import redis.asyncio
from ledger_plans import accept, graph
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.following import EVENTS_A_MESSAGE, Following
from waybill_dispatcher.history import History

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.cancellation import cancel_all
from waybill.core.task import Event, EventType
from waybill.ledger import keys, packing
from waybill.ledger.bells import Bells
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Outcome, Settlement

RETRY_ONCE = task_pb2.RetryPolicy(max_attempts=1)
ONE = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo", retry=RETRY_ONCE)])
TWO = task_pb2.Plan(
    steps=[task_pb2.PlanStep(name="a", agent="echo"), task_pb2.PlanStep(name="b", agent="echo", after=["a"])]
)


def log_of(name: str) -> str:
    return keys.key("0", "events", name.removeprefix("tasks/"))


def give_up(grant) -> Settlement:
    return Settlement(grant.ref, Outcome.FAILED_FINALLY, run_ms=1)


async def retried_task(suite) -> str:
    """A task that failed, was retried, and succeeded."""
    await suite.announce("echo")
    task = (await suite.submit(plan=ONE)).task
    await suite.run_steps(["echo"], settle=give_up)
    await suite.call("SteerTask", name=task.name, action=dispatcher_pb2.TASK_ACTION_RETRY, request_id="again")
    await suite.run_steps(["echo"])
    return task.name


async def test_given_a_task_that_ended_twice_then_a_stream_from_any_number_tells_all_of_it(suite) -> None:
    name = await retried_task(suite)
    whole = await suite.events(name)
    assert [event.type for event in whole].count(task_pb2.EVENT_TYPE_TASK_FINISHED) == 2
    for first in range(1, len(whole) + 2):
        assert await suite.events(name, first) == whole[first - 1 :]


async def test_given_a_task_that_fails_while_watched_then_its_stream_ends_and_can_be_taken_up_again(
    suite,
) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=ONE)).task
    watching = asyncio.create_task(suite.events(task.name))
    await suite.run_steps(["echo"], settle=give_up)
    seen = await watching
    assert seen[-1].state == task_pb2.TASK_STATE_FAILED
    await suite.call("SteerTask", name=task.name, action=dispatcher_pb2.TASK_ACTION_RETRY, request_id="again")
    await suite.run_steps(["echo"])
    rest = await suite.events(task.name, len(seen) + 1)
    assert rest[0].type == task_pb2.EVENT_TYPE_TASK_RETRIED
    assert rest[-1].state == task_pb2.TASK_STATE_SUCCEEDED


async def test_given_a_long_history_then_ends_in_its_middle_do_not_end_the_stream(suite) -> None:
    name = await retried_task(suite)
    whole = await suite.ledger.events(name.removeprefix("tasks/"), 1, 100)
    end, again = whole[-1], next(event for event in whole if event.type is EventType.TASK_RETRIED)
    # Ends fall on every place of a message, also on its last one.
    more = packing.event_arguments([again, end] * (2 * EVENTS_A_MESSAGE)) + packing.event_arguments([again, again, end])
    await suite.store.rpush(log_of(name), *more)
    seen = await suite.events(name)
    assert [event.sequence for event in seen] == list(range(1, len(whole) + len(more) + 1))


async def test_a_stream_follows_from_any_number_and_ends_with_the_task(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=TWO)).task
    following = asyncio.create_task(suite.events(task.name, first=3))
    await suite.run_steps(["echo"])
    events = await following
    assert [event.sequence for event in events] == list(range(3, events[-1].sequence + 1))
    assert events[-1].type == task_pb2.EVENT_TYPE_TASK_FINISHED
    assert await suite.events(task.name, first=events[-1].sequence + 1) == []


async def watched_until(stream, count: int) -> list:
    events: list = []
    while len(events) < count:
        message = await stream.read()
        assert message, f"the stream ended after {events}"
        events += message.events
    return events


@pytest.mark.parametrize("regrown", [True, False])
async def test_given_a_store_that_lost_what_was_seen_then_a_reset_comes_and_the_history_anew(
    suite, regrown: bool
) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=TWO)).task
    stream = suite.stub.StreamEvents(dispatcher_pb2.StreamEventsRequest(name=task.name))
    assert [event.sequence for event in await watched_until(stream, 3)] == [1, 2, 3]
    # As a failover to a replica that lags would leave it.
    await suite.store.ltrim(log_of(task.name), 0, 1)
    if regrown:
        await suite.store.rpush(log_of(task.name), *packing.event_arguments([Event(type=EventType.STEP_READY)]))
        await suite.store.publish(keys.key("0", "bell", task.name.removeprefix("tasks/")), 3)
    (reset,) = await watched_until(stream, 1)
    assert (reset.type, reset.sequence) == (task_pb2.EVENT_TYPE_STREAM_RESET, 0)
    kept = await watched_until(stream, 3 if regrown else 2)
    assert [event.sequence for event in kept] == list(range(1, len(kept) + 1))
    await suite.run_steps(["echo"])
    rest = []
    while message := await stream.read():
        rest += message.events
    assert [event.sequence for event in rest] == list(range(len(kept) + 1, rest[-1].sequence + 1))
    assert rest[-1].type == task_pb2.EVENT_TYPE_TASK_FINISHED


async def test_given_a_task_that_is_gone_then_its_stream_says_so(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=TWO)).task
    stream = suite.stub.StreamEvents(dispatcher_pb2.StreamEventsRequest(name=task.name))
    await watched_until(stream, 3)
    await suite.store.delete(log_of(task.name), keys.key("0", "task", task.name.removeprefix("tasks/")))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_given_the_digest_of_the_event_before_then_only_that_very_event_lets_a_stream_go_on(suite) -> None:
    name = await retried_task(suite)
    stored = await suite.ledger.events(name.removeprefix("tasks/"), 1, 100)
    everything = list(range(1, len(stored) + 1))
    for first in range(2, len(stored) + 2):
        digest = stored[first - 2].digest
        told = await suite.events(name, first, after_digest=digest)
        assert [event.sequence for event in told] == everything[first - 1 :]
        told = await suite.events(name, first, after_digest=digest ^ 1)
        assert [event.sequence for event in told] == [0, *everything]
        assert told[0].type == task_pb2.EVENT_TYPE_STREAM_RESET
    for first in (0, 1, len(stored) + 2, 10_000, 2**63 - 1):
        told = await suite.events(name, first, after_digest=7)
        assert [event.sequence for event in told] == [0, *everything]


async def test_given_a_number_beyond_the_next_event_then_the_stream_is_refused(suite) -> None:
    name = await retried_task(suite)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await suite.events(name, 1_000)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("from_sequence")


class Meddler:
    """A store that appends, and goes back in time, at random."""

    def __init__(self, client: redis.asyncio.Redis, task: str, seed: int) -> None:
        self.client, self.task, self.random, self.told = client, task, random.Random(seed), 0

    async def meddle(self) -> None:
        log = keys.key("0", "events", self.task)
        if self.random.random() < 0.3:
            await self.client.ltrim(log, 0, self.random.randrange(max(1, await self.client.llen(log))))
        await self.append(EventType.STEP_PROGRESS, self.random.randrange(4))

    async def append(self, kind: EventType, count: int = 1) -> None:
        events = []
        for _ in range(count):
            self.told += 1
            events.append(Event(type=kind, step="a", message=str(self.told)))
        if events:
            await self.client.rpush(keys.key("0", "events", self.task), *packing.event_arguments(events))
        await self.client.publish(keys.key("0", "bell", self.task), 1)


@pytest.mark.parametrize("seed", range(12))
async def test_given_any_losses_then_what_a_watcher_has_since_the_last_reset_is_what_is_stored(
    embedded_url: str, seed: int
) -> None:
    ledger, bells = Ledger(embedded_url), Bells(embedded_url)
    task = await accept(ledger, graph({"a": []}))
    following = Following(ledger, bells, History(ledger, AgentDirectory(ledger)))
    ringing = asyncio.create_task(bells.run())
    seen: list[Event] = []

    async def watch() -> None:
        async with aclosing(following.follow("acme", task, 1)) as stream:
            async for events in stream:
                if events[0].type is EventType.STREAM_RESET:
                    seen.clear()
                    assert len(events) == 1
                else:
                    seen.extend(events)

    watching = asyncio.create_task(watch())
    async with redis.asyncio.Redis.from_url(embedded_url) as client:
        meddler = Meddler(client, task, seed)
        for _ in range(40):
            await meddler.meddle()
            await asyncio.sleep(meddler.random.choice([0, 0, 0.002]))
        await meddler.append(EventType.TASK_FINISHED)
        await asyncio.wait_for(watching, 30)
    assert seen == await ledger.events(task, 1, 10_000)
    await cancel_all([ringing])
    await bells.close()
    await ledger.close()
