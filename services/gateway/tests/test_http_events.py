"""Events of a task over HTTP: what a browser is told, goes on after, and hears when the store lost some."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest
from http_errors import fields_of
from httpx_sse import aconnect_sse

TASK = "tasks/t1"
EVENTS = f"/v1/{TASK}/events"


async def events_of(http: httpx.AsyncClient, path: str = EVENTS, last_event_id: str | None = None) -> list[dict]:
    """All Server-Sent Events of a stream that ends, each checked against its own data."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id is not None else {}
    seen = []
    async with aconnect_sse(http, "GET", path, headers=headers) as source:
        async for sent in source.aiter_sse():
            data = sent.json()
            assert (sent.id, sent.event) == (f"{data['sequence']}.{data['digest']:08x}", data["type"])
            seen.append(data)
    return seen


async def test_events_stream_up_to_the_terminal_one(http, dispatcher, eventually):
    dispatcher.add_task(TASK, events=3)
    watching = asyncio.create_task(events_of(http))
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, text="line\nbreak")
    await dispatcher.emit(TASK, finish=True)
    seen = await watching
    assert [event["sequence"] for event in seen] == [1, 2, 3, 4, 5]
    assert seen[0].items() >= {"sequence": 1, "time": "1970-01-01T00:00:00.001Z", "type": "task_accepted"}.items()
    assert seen[3]["message"] == "line\nbreak"
    assert seen[4]["type"] == "task_finished"


async def test_last_event_id_resumes_after_it_and_wins_over_the_address(http, dispatcher):
    dispatcher.add_task(TASK, events=5)
    await dispatcher.emit(TASK, finish=True)
    assert [event["sequence"] for event in await events_of(http, f"{EVENTS}?from_sequence=5")] == [5, 6]
    assert [event["sequence"] for event in await events_of(http, EVENTS, "2")] == [3, 4, 5, 6]
    assert [event["sequence"] for event in await events_of(http, f"{EVENTS}?from_sequence=1", "5")] == [6]


async def test_after_the_terminal_event_a_browser_is_told_to_stop_asking(http, dispatcher):
    dispatcher.add_task(TASK)
    await dispatcher.emit(TASK, finish=True)
    response = await http.get(EVENTS, headers={"Last-Event-ID": "2"})
    assert (response.status_code, response.content) == (204, b"")


async def test_given_events_that_the_store_lost_then_a_browser_is_told_and_gets_the_history_again(http, dispatcher):
    dispatcher.add_task(TASK)
    await dispatcher.emit(TASK, finish=True)
    async with aconnect_sse(http, "GET", EVENTS, headers={"Last-Event-ID": "9"}) as source:
        sent = [event async for event in source.aiter_sse()]
    assert [event.event for event in sent] == ["stream_reset", "task_accepted", "task_finished"]
    assert [event.json()["sequence"] for event in sent] == [0, 1, 2]
    assert "id: 0" not in [line for event in sent for line in str(event).splitlines()]


async def test_a_stream_reset_has_no_id_so_that_it_is_told_again_if_nothing_follows(http, dispatcher):
    dispatcher.add_task(TASK)
    async with http.stream("GET", EVENTS, headers={"Last-Event-ID": "9"}) as response:
        lines = []
        async for line in response.aiter_lines():
            lines.append(line)
            if line.startswith("event: task_accepted"):
                break
    assert [line.partition(".")[0] for line in lines if line.startswith(("id:", "event:"))] == [
        "event: stream_reset",
        "id: 1",
        "event: task_accepted",
    ]


async def test_given_a_history_that_a_failover_rewrote_when_a_browser_goes_on_inside_it_then_it_is_told(
    http, dispatcher
):
    dispatcher.add_task(TASK, events=5)
    async with aconnect_sse(http, "GET", EVENTS) as source:
        stream = source.aiter_sse()
        ids = [(await anext(stream)).id for _ in range(5)]
    await dispatcher.lose(TASK, 3)
    await dispatcher.emit(TASK, 2, finish=True)
    kept = await events_of(http, EVENTS, ids[2])
    assert [event["sequence"] for event in kept] == [4, 5, 6, 7]
    async with aconnect_sse(http, "GET", EVENTS, headers={"Last-Event-ID": ids[3]}) as source:
        told = [event.json()["sequence"] async for event in source.aiter_sse()]
    assert told == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [event["sequence"] for event in await events_of(http, EVENTS, "4")] == [5, 6, 7]


async def test_a_retried_task_is_watched_beyond_its_first_end(http, dispatcher, eventually):
    dispatcher.add_task(TASK)
    await dispatcher.emit(TASK, finish=True)
    await dispatcher.retry(TASK)
    watching = asyncio.create_task(events_of(http))
    resuming = asyncio.create_task(events_of(http, EVENTS, "2"))
    await eventually(lambda: dispatcher.streams_open == 1)
    await dispatcher.emit(TASK, finish=True)
    types = ["task_accepted", "task_finished", "task_retried", "task_finished"]
    assert [event["type"] for event in await watching] == types
    assert [event["type"] for event in await resuming] == types[2:]


@pytest.mark.parametrize("last_event_id", ["x", "-1", "1e3", "1.", ".00000001", "1.1", "1.0000000G", "1.000000001"])
async def test_a_bad_last_event_id_is_refused(http, dispatcher, last_event_id):
    dispatcher.add_task(TASK)
    response = await http.get(EVENTS, headers={"Last-Event-ID": last_event_id})
    assert response.status_code == 400
    assert len(fields_of(response)) == 1


async def test_watchers_over_http_share_one_stream_and_leave_it(http, dispatcher, eventually):
    dispatcher.add_task(TASK)
    watching = [asyncio.create_task(events_of(http)) for _ in range(20)]
    await eventually(lambda: dispatcher.streams_open == 1)
    for watcher in watching[1:]:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
    await dispatcher.emit(TASK)
    assert dispatcher.streams_opened == 1
    watching[0].cancel()
    await eventually(lambda: dispatcher.streams_open == 0)


async def test_a_stream_that_breaks_says_so_without_an_id(http, dispatcher, eventually):
    dispatcher.add_task(TASK)
    async with aconnect_sse(http, "GET", EVENTS) as source:
        sent = source.aiter_sse()
        assert (await anext(sent)).json()["sequence"] == 1
        await eventually(lambda: dispatcher.streams_open == 1)
        dispatcher.tasks.clear()
        await dispatcher.break_streams()
        last = await anext(sent)
    assert last.event == "watch_failed"
    assert last.json()["code"] == "NOT_FOUND"
