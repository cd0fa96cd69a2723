"""Tasks that are submitted and followed in one call, over gRPC and over HTTP."""

from __future__ import annotations

import asyncio
import json
import random

import grpc
import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.errors import AlreadyExists, InvalidArgument, NotFound
from waybill.rpc.status import from_rpc_error

TASK = "tasks/t1"
RUN = "/v1/tasks:run"
GOAL = {"goal": "Why?"}


def running(request_id: str = "", **fields: int) -> gateway_pb2.RunTaskRequest:
    spec = task_pb2.TaskSpec(goal="Why?", priority=task_pb2.PRIORITY_NORMAL)
    return gateway_pb2.RunTaskRequest(spec=spec, request_id=request_id, **fields)


async def run_over_http(http: httpx.AsyncClient, **headers: str) -> list[ServerSentEvent]:
    """All that a run sends, up to its end."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aconnect_sse(http, "POST", RUN, json=GOAL, headers=named) as source:
        return [sent async for sent in source.aiter_sse()]


async def test_a_run_tells_the_accepted_task_then_its_events_then_the_ended_task(stub, dispatcher, eventually):
    call = aiter(stub.RunTask(running()))
    first = await anext(call)
    assert (first.task.name, first.task.state, len(first.events)) == (TASK, task_pb2.TASK_STATE_RUNNING, 0)
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, 2)
    await dispatcher.emit(TASK, finish=True)
    messages = [message async for message in call]
    assert [event.sequence for message in messages[:-1] for event in message.events] == [1, 2, 3, 4]
    assert messages[-1].task.state == task_pb2.TASK_STATE_SUCCEEDED
    assert json.loads(messages[-1].task.output.data) == {"answer": 42}


async def test_the_same_over_http(http, dispatcher, eventually):
    answer = asyncio.create_task(run_over_http(http))
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, finish=True)
    sent = await answer
    assert [event.event for event in sent] == ["task", "task_accepted", "task_finished", "task_result"]
    assert sent[0].json()["task"].items() >= {"name": TASK, "state": "running"}.items()
    assert sent[-1].json()["task"].items() >= {"state": "succeeded", "output": {"answer": 42}}.items()


async def test_what_is_no_event_has_no_id(http, dispatcher, eventually):
    async with http.stream("POST", RUN, json=GOAL) as response:
        await eventually(lambda: dispatcher.streams_open == 1)
        await dispatcher.emit(TASK, finish=True)
        lines = [line async for line in response.aiter_lines() if line.startswith(("id:", "event:"))]
    assert [line.partition(".")[0] for line in lines if line.startswith("id:")] == ["id: 1", "id: 2"]
    assert (lines[0], lines[-2:]) == ("event: task", ["event: task_finished", "event: task_result"])


async def test_given_a_client_that_left_when_it_repeats_the_request_then_the_same_task_goes_on_after_what_it_saw(
    http, dispatcher, eventually
):
    async with aconnect_sse(http, "POST", RUN, json=GOAL, headers={"Idempotency-Key": "k"}) as source:
        sent = source.aiter_sse()
        assert [(await anext(sent)).event for _ in range(2)] == ["task", "task_accepted"]
    await eventually(lambda: dispatcher.streams_open == 0)
    assert dispatcher.tasks["default", TASK].state == task_pb2.TASK_STATE_RUNNING
    await dispatcher.emit(TASK, 1, finish=True)
    resumed = await run_over_http(http, Idempotency_Key="k", Last_Event_ID="1")
    assert [event.event for event in resumed] == ["task", "step_progress", "task_finished", "task_result"]
    assert {name for _, name in dispatcher.tasks} == {TASK}
    seen_all = await run_over_http(http, Idempotency_Key="k", Last_Event_ID="3")
    assert [event.event for event in seen_all] == ["task", "task_result"]


async def test_what_is_wrong_before_acceptance_is_an_ordinary_error(http, stub, dispatcher):
    assert (await http.post(RUN, json={"goal": ""})).status_code == 400
    assert (await http.post(RUN, json={"goal": "refuse"})).status_code == 400
    assert (await http.post(RUN, json=GOAL, headers={"Last-Event-ID": "x"})).status_code == 400
    assert (await http.post(f"{RUN}?from_sequence=-1", json=GOAL)).status_code == 400
    assert (await http.post(RUN, content=b"x" * 100_001)).status_code == 413
    assert not dispatcher.tasks
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RunTask(running(from_sequence=-1)).read()
    assert isinstance(from_rpc_error(caught.value), InvalidArgument)
    assert not dispatcher.tasks


async def test_a_request_id_that_stood_for_another_task_is_refused(http, stub):
    await http.post("/v1/tasks", json={"goal": "How?", "request_id": "k"})
    assert (await http.post(RUN, json=GOAL, headers={"Idempotency-Key": "k"})).status_code == 409
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RunTask(running("k")).read()
    assert isinstance(from_rpc_error(caught.value), AlreadyExists)


async def test_what_is_wrong_after_acceptance_is_told_in_the_stream(http, stub, dispatcher, eventually):
    call = aiter(stub.RunTask(running("k", from_sequence=9)))
    assert (await anext(call)).task.name == TASK
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(call)
    assert from_rpc_error(caught.value).violations[0].field == "from_sequence"
    async with aconnect_sse(http, "POST", RUN, json=GOAL, headers={"Idempotency-Key": "k"}) as source:
        sent = source.aiter_sse()
        assert [(await anext(sent)).event for _ in range(2)] == ["task", "task_accepted"]
        await eventually(lambda: dispatcher.streams_open == 1)
        dispatcher.tasks.clear()
        await dispatcher.break_streams()
        failed = [event async for event in sent]
    assert [event.event for event in failed] == ["watch_failed"]
    assert NotFound.code.name in failed[0].data


async def test_given_a_retry_right_after_the_end_then_the_run_goes_on_to_the_next_end(stub, dispatcher, eventually):
    call = aiter(stub.RunTask(running()))
    await anext(call)
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, finish=True)
    dispatcher.tasks["default", TASK].state = task_pb2.TASK_STATE_RUNNING
    await eventually(lambda: dispatcher.streams_open == 0)
    await dispatcher.retry(TASK)
    await dispatcher.emit(TASK, finish=True)
    messages = [message async for message in call]
    assert [event.sequence for message in messages for event in message.events] == [1, 2, 3, 4]
    assert [message.task.state for message in messages if message.HasField("task")] == [task_pb2.TASK_STATE_SUCCEEDED]


async def test_given_events_that_a_failover_lost_when_a_run_is_repeated_then_its_history_begins_anew(
    http, stub, dispatcher
):
    await stub.RunTask(running("k")).read()
    await dispatcher.emit(TASK, 3)
    seen = dispatcher.events[TASK][2]
    await dispatcher.lose(TASK, 2)
    await dispatcher.emit(TASK, finish=True)
    call = aiter(stub.RunTask(running("k", from_sequence=4, after_digest=seen.digest)))
    events = [event async for message in call for event in message.events]
    assert [event.sequence for event in events] == [0, 1, 2, 3, 4]
    for last_seen in ("9", f"3.{seen.digest:08x}"):
        sent = await run_over_http(http, Idempotency_Key="k", Last_Event_ID=last_seen)
        assert [event.event for event in sent][:3] == ["task", "stream_reset", "task_accepted"]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_breaks_a_run_tells_every_event_once_and_the_result(stub, dispatcher, eventually, seed):
    chance = random.Random(seed)
    call = aiter(stub.RunTask(running()))
    await anext(call)
    told = asyncio.create_task(_all(call))
    for _ in range(12):
        match chance.choice(("emit", "break", "restart", "end and retry")):
            case "emit":
                await dispatcher.emit(TASK, chance.randint(1, 4))
            case "break":
                await dispatcher.break_streams()
            case "restart":
                await dispatcher.kill()
                await dispatcher.start()
            case _:
                await dispatcher.finish_and_retry(TASK)
        await asyncio.sleep(chance.choice((0, 0.05)))
    await dispatcher.emit(TASK, finish=True)
    await dispatcher.kill()
    await dispatcher.start()
    messages = await told
    sequences = [event.sequence for message in messages for event in message.events]
    assert sequences == list(range(1, len(dispatcher.events[TASK]) + 1))
    assert messages[-1].task.state == task_pb2.TASK_STATE_SUCCEEDED


async def _all(call) -> list[gateway_pb2.RunTaskResponse]:
    return [message async for message in call]


async def test_when_the_gateway_stops_a_run_is_told_to_go_on_at_another(gateway, stub, eventually, dispatcher):
    call = aiter(stub.RunTask(running()))
    await anext(call)
    await eventually(lambda: dispatcher.streams_open == 1)
    gateway.server.request_stop()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _all(call)
    assert from_rpc_error(caught.value).reason == "GATEWAY_STOPPING"
