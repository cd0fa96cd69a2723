"""Many watchers, one stream to the dispatcher, nothing lost and nothing twice."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from waybill_gateway import hub as hub_module
from waybill_gateway.caller import Caller
from waybill_gateway.gateway import Gateway

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc
from waybill.errors import InvalidArgument, NotFound, Unavailable
from waybill.rpc.channel import connect
from waybill.rpc.status import from_rpc_error

TASK = "tasks/t1"


def watch(stub, from_sequence=0, tenant="default"):
    request = gateway_pb2.WatchTaskRequest(name=TASK, from_sequence=from_sequence)
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
    monkeypatch.setattr(hub_module, "MAX_BUFFERED_EVENTS", 50)
    dispatcher.add_task(TASK)
    fanout = gateway._verbs.fanout
    caller = any_caller()
    stalled = (await fanout.open(caller, TASK, 1)).batches()
    quick = (await fanout.open(caller, TASK, 1)).batches()
    seen = {stalled: numbers(await anext(stalled)), quick: numbers(await anext(quick))}
    pending = asyncio.ensure_future(anext(stalled))
    await dispatcher.emit(TASK)
    seen[stalled] += numbers(await pending)
    for _ in range(20):
        await dispatcher.emit(TASK, 100)
        while len(seen[quick]) < len(dispatcher.events[TASK]):
            seen[quick] += numbers(await anext(quick))
    [hub] = fanout._hubs.values()
    assert hub.next - hub.first == 50
    await dispatcher.emit(TASK, finish=True)
    for watcher in (stalled, quick):
        async for events in watcher:
            seen[watcher] += numbers(events)
    assert seen[stalled] == seen[quick] == list(range(1, 2004))
    assert dispatcher.streams_opened == 1


async def test_a_buffer_is_bounded_by_its_bytes_too(gateway, dispatcher, monkeypatch):
    monkeypatch.setattr(hub_module, "MAX_BUFFERED_BYTES", 10_000)
    dispatcher.add_task(TASK)
    fanout = gateway._verbs.fanout
    async with fanout.joined("default", TASK, 2) as hub:
        await dispatcher.emit(TASK, 100, text="x" * 1_000)
        await hub.wait(101)
        assert hub.next - hub.first == 9


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


def numbers(events) -> list[int]:
    return [event.sequence for event in events]


def any_caller():
    return Caller.within("default", 30)
