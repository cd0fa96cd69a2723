"""Streams of results over gRPC and HTTP: from any place, over dispatchers that break off, until the gateway stops."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from httpx_sse import aconnect_sse

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.errors import InvalidArgument, NotFound, OutOfRange
from waybill.rpc.status import from_rpc_error

WatchTasks = gateway_pb2.WatchTasksRequest


async def results_of(call, count):
    """The next results of a stream, as names and cursors."""
    found = []
    while len(found) < count:
        message = await call.read()
        assert message is not grpc.aio.EOF, "the stream ended"
        found += [(result.task.name, result.cursor) for result in message.results]
    return found


@asynccontextmanager
async def watching(http, url, **headers):
    async with aconnect_sse(http, "GET", url, headers=headers) as source:
        assert source.response.status_code == 200
        yield source.aiter_sse()


async def test_results_come_as_they_are_with_the_place_at_first(stub, dispatcher):
    await dispatcher.end("tasks/a")
    call = stub.WatchTasks(WatchTasks())
    first = await call.read()
    assert (list(first.results), first.cursor) == ([], "c0")
    assert await results_of(call, 1) == [("tasks/a", "c1")]
    await dispatcher.end("tasks/b", "tasks/c")
    assert await results_of(call, 2) == [("tasks/b", "c2"), ("tasks/c", "c3")]
    call.cancel()


async def test_what_is_asked_for_reaches_the_dispatcher(stub, dispatcher):
    wanted = task_pb2.TaskFilter(labels={"team": "red"}, states=[task_pb2.TASK_STATE_FAILED], agent="echo")
    call = stub.WatchTasks(WatchTasks(filter=wanted, from_now=True), metadata=(("x-waybill-tenant", "acme"),))
    await call.read()
    assert (dispatcher.last_request.filter, dispatcher.last_request.from_now) == (wanted, True)
    call.cancel()


async def test_given_streams_that_break_then_the_rest_follows_once_on_the_same_stream(stub, dispatcher, eventually):
    await dispatcher.end("tasks/a")
    call = stub.WatchTasks(WatchTasks(from_now=True))
    await call.read()
    await dispatcher.break_streams()
    await dispatcher.end("tasks/b")
    assert await results_of(call, 1) == [("tasks/b", "c2")]
    await dispatcher.kill()
    await dispatcher.end("tasks/c")
    await dispatcher.start()
    assert await results_of(call, 1) == [("tasks/c", "c3")]
    call.cancel()
    await eventually(lambda: dispatcher.streams_open == 0)


async def test_given_named_tasks_then_the_stream_ends_with_the_last_of_them(stub, dispatcher):
    await dispatcher.end("tasks/a", "tasks/other")
    call = stub.WatchTasks(WatchTasks(names=["tasks/a", "tasks/b"]))
    assert await results_of(call, 1) == [("tasks/a", "c1")]
    await dispatcher.end("tasks/b")
    assert await results_of(call, 1) == [("tasks/b", "c3")]
    assert await call.read() is grpc.aio.EOF


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (WatchTasks(names=["a"]), "names[0]"),
        (WatchTasks(names=[f"tasks/{at}" for at in range(1_001)]), "names"),
        (WatchTasks(names=["tasks/a"], filter=task_pb2.TaskFilter(agent="echo")), "filter"),
        (WatchTasks(filter=task_pb2.TaskFilter(agent="E")), "filter.agent"),
        (WatchTasks(filter=task_pb2.TaskFilter(states=[task_pb2.TASK_STATE_RUNNING])), "filter.states"),
        (WatchTasks(filter=task_pb2.TaskFilter(states=[99])), "filter.states"),
    ],
)
async def test_what_cannot_be_followed_is_refused_by_its_field(stub, request_, field):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.WatchTasks(request_).read()
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidArgument)
    assert [violation.field for violation in error.violations] == [field]


async def test_what_the_dispatcher_refuses_is_refused(stub, http, dispatcher):
    dispatcher.error = OutOfRange("results after this cursor have expired")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.WatchTasks(WatchTasks(cursor="c1")).read()
    assert from_rpc_error(caught.value).reason == "CURSOR_EXPIRED"
    refused = await http.get("/v1/tasks:watch", params={"cursor": "c1"})
    assert (refused.status_code, refused.json()["reason"]) == (410, "CURSOR_EXPIRED")
    dispatcher.error = NotFound("there is no task x")
    assert (await http.get("/v1/tasks:watch", params={"name": "x"})).status_code == 404


async def test_given_a_gateway_that_stops_then_streams_end_with_unavailable(
    stub, http, gateway, dispatcher, eventually
):
    call = stub.WatchTasks(WatchTasks())
    await call.read()
    async with watching(http, "/v1/tasks:watch") as events:
        assert (await anext(events)).event == "cursor"
        gateway.server.request_stop()
        last = await anext(events)
        assert (last.event, last.id) == ("watch_failed", "c0")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert from_rpc_error(caught.value).reason == "GATEWAY_STOPPING"
    await eventually(lambda: dispatcher.streams_open == 0)


async def test_given_a_dispatcher_that_does_not_answer_then_the_caller_is_told(stub, dispatcher):
    await dispatcher.kill()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.WatchTasks(WatchTasks(), timeout=0.5).read()
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def test_given_a_caller_who_reads_nothing_then_the_dispatcher_is_held_up(stub, dispatcher, monkeypatch):
    sent = 0
    payload = task_pb2.Payload(data=b"1" * 2**20)

    async def stream(self, request, context):
        nonlocal sent
        for at in range(100):
            sent += 1
            result = task_pb2.TaskResult(task=task_pb2.Task(name=f"tasks/{at}", output=payload), cursor=f"c{at}")
            yield dispatcher_pb2.StreamResultsResponse(results=[result], cursor=result.cursor)

    monkeypatch.setattr(type(dispatcher), "StreamResults", stream)
    await dispatcher.kill()
    await dispatcher.start()
    call = stub.WatchTasks(WatchTasks())
    await results_of(call, 1)
    before = 0
    while before != sent:
        before = sent
        await asyncio.sleep(0.5)
    assert sent < 50
    assert len(await results_of(call, 99)) == 99


class TestHttp:
    async def test_results_are_events_whose_ids_are_cursors(self, http, dispatcher):
        await dispatcher.end("tasks/a")
        async with watching(http, "/v1/tasks:watch?label=team=red&state=succeeded,failed") as events:
            assert (await anext(events)).event == "cursor"
            result = await anext(events)
            assert (result.event, result.id) == ("task_result", "c1")
            assert result.json()["cursor"] == "c1"
            assert result.json()["task"]["output"] == {"answer": 42}
        assert dict(dispatcher.last_request.filter.labels) == {"team": "red"}

    async def test_last_event_id_goes_before_the_query(self, http, dispatcher):
        await dispatcher.end("tasks/a", "tasks/b")
        url = "/v1/tasks:watch?from_now=true&cursor=c0"
        async with watching(http, url, **{"Last-Event-ID": "c1"}) as events:
            await anext(events)
            assert (await anext(events)).json()["task"]["name"] == "tasks/b"

    async def test_named_tasks_by_name_or_id_and_then_no_content(self, http, dispatcher):
        await dispatcher.end("tasks/a", "tasks/b")
        url = "/v1/tasks:watch?name=a,tasks/b"
        async with watching(http, url) as events:
            told = [event async for event in events]
        assert [event.event for event in told] == ["cursor", "task_result", "task_result"]
        done = await http.get(url, headers={"Last-Event-ID": told[-1].id})
        assert done.status_code == 204

    @pytest.mark.parametrize("query", ["from_now=yes", "page_size=3", "state=running", "label=x", "name=a&agent=echo"])
    async def test_bad_parameters_are_refused(self, http, query):
        assert (await http.get(f"/v1/tasks:watch?{query}")).status_code == 400
