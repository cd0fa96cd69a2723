"""Many watchers, one stream to the dispatcher, nothing lost and nothing twice."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from waybill_gateway import buffer as buffer_module
from waybill_gateway.caller import Caller
from waybill_gateway.gateway import Gateway
from waybill_gateway.place import START, Place

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc
from waybill.errors import InvalidArgument, NotFound, Unavailable
from waybill.rpc.channel import connect
from waybill.rpc.status import from_rpc_error

TASK = "tasks/t1"


def watch(stub, from_sequence=0, tenant="default", after_digest=0):
    request = gateway_pb2.WatchTaskRequest(name=TASK, from_sequence=from_sequence, after_digest=after_digest)
    return stub.WatchTask(request, metadata=(("x-waybill-tenant", tenant),))


async def sequences(call) -> list[int]:
    """Numbers of all events up to the end of the stream."""
    seen: list[int] = []
    while (response := await call.read()) is not grpc.aio.EOF:
        seen += numbers(response.events)
    return seen


async def error_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sequences(call)
    return from_rpc_error(caught.value)


def collect(calls):
    return [asyncio.create_task(sequences(call)) for call in calls]


async def test_many_watchers_of_one_task_cost_one_stream(stub, dispatcher, eventually):
    dispatcher.add_task(TASK, events=5)
    watchers = collect(watch(stub, from_sequence=start) for start in [1, 2, 3, 4, 5] * 20)
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, 50)
    await dispatcher.emit(TASK, 50, finish=True)
    seen = await asyncio.gather(*watchers)
    assert seen == [list(range(start, 107)) for start in [1, 2, 3, 4, 5] * 20]
    assert dispatcher.streams_opened == 1
    await eventually(lambda: dispatcher.streams_open == 0)


async def test_a_finished_task_is_served_without_a_stream(stub, dispatcher):
    dispatcher.add_task(TASK, events=3)
    await dispatcher.emit(TASK, finish=True)
    assert await sequences(watch(stub)) == [1, 2, 3, 4]
    assert await sequences(watch(stub, from_sequence=4)) == [4]
    assert await sequences(watch(stub, from_sequence=5)) == []
    assert dispatcher.streams_opened == 0


async def test_given_the_stream_breaks_then_watchers_see_no_gap_and_no_repeat(stub, dispatcher, eventually):
    dispatcher.add_task(TASK)
    watchers = collect([watch(stub), watch(stub)])
    for opened in range(1, 4):
        await eventually(lambda opened=opened: dispatcher.streams_opened == opened)
        await dispatcher.emit(TASK, 10)
        await dispatcher.break_streams()
        await dispatcher.emit(TASK, 10)
    await dispatcher.emit(TASK, finish=True)
    assert await asyncio.gather(*watchers) == [list(range(1, 63))] * 2


async def test_given_the_dispatcher_is_killed_then_watchers_go_on_when_it_is_back(stub, dispatcher, eventually):
    dispatcher.add_task(TASK)
    [watcher] = collect([watch(stub)])
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, 10)
    await dispatcher.kill()
    await dispatcher.emit(TASK, 10)
    await dispatcher.start()
    await dispatcher.emit(TASK, finish=True)
    assert await watcher == list(range(1, 23))


async def test_the_last_watcher_that_leaves_closes_the_stream(stub, dispatcher, eventually):
    dispatcher.add_task(TASK)
    calls = [watch(stub), watch(stub)]
    for call in calls:
        await call.read()
    await eventually(lambda: dispatcher.streams_open == 1)
    calls[0].cancel()
    await dispatcher.emit(TASK)
    await calls[1].read()
    assert dispatcher.streams_open == 1
    calls[1].cancel()
    await eventually(lambda: dispatcher.streams_open == 0)


async def test_a_watcher_that_stalls_reads_the_gap_once_it_goes_on(gateway, dispatcher, eventually, monkeypatch):
    monkeypatch.setattr(buffer_module, "MAX_BUFFERED_EVENTS", 50)
    dispatcher.add_task(TASK)
    fanout = gateway._verbs.fanout
    caller = any_caller()
    stalled = (await fanout.open(caller, TASK, START)).batches()
    quick = (await fanout.open(caller, TASK, START)).batches()
    seen = {stalled: numbers(await anext(stalled)), quick: numbers(await anext(quick))}
    pending = asyncio.ensure_future(anext(stalled))
    await dispatcher.emit(TASK)
    seen[stalled] += numbers(await pending)
    for _ in range(20):
        await dispatcher.emit(TASK, 100)
        while len(seen[quick]) < len(dispatcher.events[TASK]):
            seen[quick] += numbers(await anext(quick))
    [hub] = fanout._hubs.values()
    assert hub.buffer.next - hub.buffer.first == 50
    await dispatcher.emit(TASK, finish=True)
    for watcher in (stalled, quick):
        async for events in watcher:
            seen[watcher] += numbers(events)
    assert seen[stalled] == seen[quick] == list(range(1, 2004))
    assert dispatcher.streams_opened == 1


async def test_a_buffer_is_bounded_by_its_bytes_too(gateway, dispatcher, monkeypatch):
    monkeypatch.setattr(buffer_module, "MAX_BUFFERED_BYTES", 10_000)
    dispatcher.add_task(TASK)
    fanout = gateway._verbs.fanout
    async with fanout.joined("default", TASK, Place(2)) as hub:
        await dispatcher.emit(TASK, 100, text="x" * 1_000)
        await hub.wait(101, 0)
        assert hub.buffer.next - hub.buffer.first == 9


async def test_another_tenant_never_sees_what_a_hub_holds(stub, dispatcher, eventually):
    dispatcher.add_task(TASK, tenant="acme")
    owner = watch(stub, tenant="acme")
    await owner.read()
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK)
    await owner.read()
    assert isinstance(await error_of(watch(stub, tenant="other")), NotFound)
    owner.cancel()


@pytest.mark.parametrize("from_sequence", [-1, 5, 2**63 - 1])
async def test_a_sequence_number_beyond_the_next_event_is_refused(stub, dispatcher, from_sequence):
    dispatcher.add_task(TASK, events=3)
    error = await error_of(watch(stub, from_sequence=from_sequence))
    assert isinstance(error, InvalidArgument)
    assert [violation.field for violation in error.violations] == ["from_sequence"]


async def test_the_next_event_may_be_awaited(stub, dispatcher, eventually):
    dispatcher.add_task(TASK, events=3)
    [watcher] = collect([watch(stub, from_sequence=4)])
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, finish=True)
    assert await watcher == [4]


async def test_an_unknown_task_is_not_found(stub):
    assert isinstance(await error_of(watch(stub)), NotFound)


async def test_given_the_stream_is_refused_for_good_then_all_watchers_are_told(stub, dispatcher, eventually):
    dispatcher.add_task(TASK)
    calls = [watch(stub), watch(stub)]
    for call in calls:
        await call.read()
    await eventually(lambda: dispatcher.streams_open == 1)
    dispatcher.tasks.clear()
    await dispatcher.break_streams()
    assert [type(await error_of(call)) for call in calls] == [NotFound, NotFound]


async def test_when_the_gateway_stops_then_watchers_are_told_to_go_on_elsewhere(gateway, dispatcher, eventually):
    dispatcher.add_task(TASK)
    options = [("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.server.grpc_port}", options=options) as channel:
        call = watch(gateway_pb2_grpc.GatewayServiceStub(channel))
        await call.read()
        await eventually(lambda: dispatcher.streams_open == 1)
        gateway.server.request_stop()
        error = await error_of(call)
    assert (type(error), error.reason) == (Unavailable, "GATEWAY_STOPPING")


async def test_two_gateways_serve_the_same_task(stub, settings, dispatcher):
    dispatcher.add_task(TASK)
    second = Gateway(settings)
    await second.start()
    stopped = asyncio.create_task(second.run_until_stopped())
    async with connect(f"127.0.0.1:{second.server.grpc_port}") as channel:
        watchers = collect([watch(stub), watch(gateway_pb2_grpc.GatewayServiceStub(channel))])
        await dispatcher.emit(TASK, 5, finish=True)
        assert await asyncio.gather(*watchers) == [list(range(1, 8))] * 2
    second.server.request_stop()
    await stopped


async def test_given_a_task_that_was_retried_then_its_first_end_ends_nothing(stub, dispatcher, eventually):
    dispatcher.add_task(TASK)
    await dispatcher.emit(TASK, finish=True)
    await dispatcher.retry(TASK)
    watchers = collect([watch(stub), watch(stub, from_sequence=2), watch(stub, from_sequence=3)])
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, finish=True)
    assert await asyncio.gather(*watchers) == [[1, 2, 3, 4], [2, 3, 4], [3, 4]]


async def test_given_an_end_and_a_retry_while_watched_then_either_all_is_seen_or_the_stream_ended_in_order(
    stub, dispatcher, eventually
):
    dispatcher.add_task(TASK)
    call = watch(stub)
    await call.read()
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, finish=True)
    assert await sequences(call) == [2]
    await dispatcher.retry(TASK)
    [again] = collect([watch(stub, from_sequence=3, after_digest=dispatcher.events[TASK][1].digest)])
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, finish=True)
    assert await again == [3, 4]


async def test_given_a_slow_watcher_of_an_ended_stream_when_the_task_is_retried_then_others_see_the_retry(
    gateway, dispatcher, eventually
):
    dispatcher.add_task(TASK)
    fanout = gateway._verbs.fanout
    slow = (await fanout.open(any_caller(), TASK, START)).batches()
    seen = numbers(await anext(slow))
    pending = asyncio.ensure_future(anext(slow))
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, finish=True)
    seen += numbers(await pending)
    await eventually(lambda: dispatcher.streams_open == 0)
    await dispatcher.retry(TASK)
    other = (await fanout.open(any_caller(), TASK, Place(3))).batches()
    assert numbers(await anext(other)) == [3]
    await dispatcher.emit(TASK, finish=True)
    assert [number async for events in other for number in numbers(events)] == [4]
    assert seen + [number async for events in slow for number in numbers(events)] == [1, 2]


async def test_given_the_store_lost_events_then_every_watcher_is_told_before_the_new_history(
    stub, dispatcher, eventually
):
    dispatcher.add_task(TASK, events=9)
    watchers = collect([watch(stub), watch(stub, from_sequence=9), watch(stub, from_sequence=10)])
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK)
    await eventually(lambda: all(not watcher.done() for watcher in watchers))
    await dispatcher.lose(TASK, kept=3)
    await dispatcher.emit(TASK, finish=True)
    for watcher, first in zip(watchers, (1, 9, 10), strict=True):
        seen = await watcher
        before, after = seen[: seen.index(0)], seen[seen.index(0) + 1 :]
        assert before == list(range(first, 11))[: len(before)]
        assert after == [1, 2, 3, 4, 5]


async def test_given_a_reset_that_was_missed_then_the_digest_tells(stub, dispatcher):
    dispatcher.add_task(TASK, events=6)
    lost = dispatcher.events[TASK][4].digest
    kept = dispatcher.events[TASK][1].digest
    await dispatcher.lose(TASK, kept=4)
    await dispatcher.emit(TASK, finish=True)
    assert await sequences(watch(stub, from_sequence=6, after_digest=lost)) == [0, 1, 2, 3, 4, 5, 6]
    assert await sequences(watch(stub, from_sequence=9, after_digest=lost)) == [0, 1, 2, 3, 4, 5, 6]
    assert await sequences(watch(stub, from_sequence=3, after_digest=kept)) == [3, 4, 5, 6]
    last = dispatcher.events[TASK][5].digest
    assert await sequences(watch(stub, from_sequence=7, after_digest=last)) == []


async def test_given_a_watched_task_when_another_resumes_with_a_lost_event_then_it_is_told_from_the_buffer(
    stub, dispatcher, eventually
):
    dispatcher.add_task(TASK, events=2)
    [first] = collect([watch(stub)])
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, 5)
    await eventually(lambda: not first.done())
    calls = [watch(stub, from_sequence=5, after_digest=digest) for digest in (7, dispatcher.events[TASK][3].digest)]
    told = [numbers((await call.read()).events) for call in calls]
    assert told == [[0], [5, 6, 7]]
    rest = collect(calls)
    await dispatcher.emit(TASK, finish=True)
    assert await asyncio.gather(first, *rest) == [list(range(1, 9)), list(range(1, 9)), [8]]


async def test_given_the_dispatcher_restarts_with_lost_events_then_the_hub_finds_out_by_its_digest(
    stub, dispatcher, eventually
):
    dispatcher.add_task(TASK)
    [watcher] = collect([watch(stub)])
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, 3)
    await eventually(lambda: not watcher.done())
    call = watch(stub)
    seen = []
    while len(seen) < 4:
        seen += numbers((await call.read()).events)
    await dispatcher.kill()
    await dispatcher.lose(TASK, kept=2)
    await dispatcher.start()
    await dispatcher.emit(TASK, finish=True)
    assert await sequences(call) == [0, 1, 2, 3, 4]
    assert await watcher == [1, 2, 3, 4, 0, 1, 2, 3, 4]


def numbers(events) -> list[int]:
    return [event.sequence for event in events]


def any_caller():
    return Caller.within("default", 30)
