"""The main job through the gateway alone: goals and plans, over gRPC and HTTP, watched from any number."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from httpx_sse import aconnect_sse

from waybill.client import Client
from waybill.core.task import Document, EventType, TaskState
from waybill.errors import AlreadyExists, InvalidArgument, NotFound

NOTES = Document(
    "tides.md",
    "text/markdown",
    b"# Tides\n\nTides are the rise and fall of sea levels caused by the gravity of the Moon and the Sun.\n"
    b"A spring tide is a tide of great range that comes just after a new or full Moon.\n\n"
    b"## Measuring\n\nA tide gauge is a device that measures the change of the sea level over time.\n",
)
DIAMOND = {
    "steps": [
        {"name": "top", "agent": "echo", "input": {"value": 2}},
        {"name": "left", "agent": "add", "input": {"values": ["${top.value}", 1]}},
        {"name": "right", "agent": "add", "input": {"values": ["${top.value}", 10]}},
        {"name": "bottom", "agent": "add", "input": {"values": ["${left}", "${right}"]}},
    ]
}


@pytest.fixture
async def client(suite):
    async with Client(suite.address) as opened:
        yield opened


def log_lines(suite, kind: str) -> list[str]:
    """Every line that processes of one kind have logged."""
    logs = [path for path in Path(suite.data_dir, "logs").iterdir() if kind in path.name]
    return [line for path in logs for line in path.read_text().splitlines()]


async def end_of(client: Client, task) -> list:
    return [event async for event in client.watch(task)]


async def test_a_goal_becomes_a_cited_report(client: Client) -> None:
    task = await client.submit(goal="What are tides and what is a tide gauge?", documents=[NOTES])
    events = await end_of(client, task)
    ended = await client.get(task)
    assert ended.state is TaskState.SUCCEEDED, ended.failure
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    lines = NOTES.data.decode().splitlines()
    assert ended.output["sources"]
    for source in ended.output["sources"]:
        assert source["path"] == "tides.md"
        following = " ".join(" ".join(lines[source["line"] - 1 :]).split())
        assert following.startswith(" ".join(source["quote"].split()))
        assert f"[{source['n']}]" in ended.output["report"]
    assert "tide gauge is a device" in ended.output["report"]
    assert [step.agent for step in await client.steps(task)].count("retriever") == 2


async def test_a_diamond_passes_typed_values_along(client: Client) -> None:
    task = await client.submit(plan=DIAMOND)
    await end_of(client, task)
    assert (await client.get(task)).output == 15


async def test_a_fan_of_fifty_is_joined(client: Client) -> None:
    fan = [{"name": f"leaf-{n}", "agent": "add", "input": {"values": [n]}, "after": ["root"]} for n in range(50)]
    join = {"name": "join", "agent": "add", "input": {"values": [f"${{leaf-{n}}}" for n in range(50)]}}
    task = await client.submit(plan={"steps": [{"name": "root", "agent": "echo"}, *fan, join]})
    events = await end_of(client, task)
    assert (await client.get(task)).output == sum(range(50))
    finished = [event.step for event in events if event.type is EventType.STEP_FINISHED]
    assert len(finished) == len(set(finished)) == 52


async def test_a_failing_agent_is_retried_and_its_text_is_superseded(client: Client) -> None:
    retry = {"max_attempts": 3, "initial_backoff_ms": 10}
    plan = {"steps": [{"name": "try", "agent": "flaky", "input": {"failures": 2}, "retry": retry}]}
    task = await client.submit(plan=plan)
    events = await end_of(client, task)
    ended, metrics = await client.get(task), await client.metrics(task)
    assert ended.output == {"attempt": 3}
    assert [event.attempt for event in events if event.type is EventType.STEP_RETRIED] == [1, 2]
    assert [event.text for event in events if event.type is EventType.STEP_TEXT] == ["try 1 ", "try 2 ", "try 3 "]
    assert metrics.usage.input_tokens == ended.usage.input_tokens == 30
    assert metrics.steps[0].attempts == 3


async def test_a_step_that_fails_for_good_fails_its_task_and_stops_the_rest(client: Client) -> None:
    plan = {
        "steps": [
            {"name": "bad", "agent": "hopeless"},
            {"name": "long", "agent": "slow", "input": {"seconds": 60}},
            {"name": "never", "agent": "echo", "after": ["bad"]},
        ]
    }
    task = await client.submit(plan=plan)
    await end_of(client, task)
    ended = await client.get(task)
    assert (ended.state, ended.failure.reason) == (TaskState.FAILED, "AGENT_PERMANENT")
    assert [step.state.value for step in await client.steps(task)] == ["failed", "cancelled", "cancelled"]


async def test_a_cancelled_task_stops_what_runs(client: Client) -> None:
    plan = {"steps": [{"name": "long", "agent": "slow", "input": {"seconds": 60}}]}
    task = await client.submit(plan=plan)
    async for event in client.watch(task):
        if event.type is EventType.STEP_STARTED:
            await client.cancel(task)
    assert (await client.get(task)).state is TaskState.CANCELLED
    assert (await client.cancel(task)).state is TaskState.CANCELLED


async def test_a_run_timeout_ends_an_attempt_of_a_blocking_function(client: Client) -> None:
    step = {"name": "stuck", "agent": "blocking", "input": {"seconds": 60}}
    plan = {"steps": [{**step, "run_timeout_ms": 300, "retry": {"max_attempts": 1}}]}
    task = await client.submit(plan=plan)
    await end_of(client, task)
    assert (await client.get(task)).failure.reason == "TIMEOUT"


async def test_an_agent_that_kills_its_process_costs_an_attempt_and_no_worker(client: Client) -> None:
    plan = {"steps": [{"name": "die", "agent": "deadly", "retry": {"initial_backoff_ms": 10}}]}
    task = await client.submit(plan=plan)
    await end_of(client, task)
    assert (await client.get(task)).output == "survived"


async def test_a_watcher_that_reconnects_in_the_middle_misses_and_repeats_nothing(client: Client, suite) -> None:
    plan = {"steps": [{"name": "long", "agent": "slow", "input": {"seconds": 1}}]}
    task = await client.submit(plan=plan)
    seen = []
    async for event in client.watch(task):
        seen.append(event)
        if len(seen) == 6:
            break
    async with Client(suite.address) as other:
        seen += [event async for event in other.watch(task, from_sequence=len(seen) + 1)]
    assert seen == await end_of(client, task)


async def test_http_does_the_same_with_server_sent_events(suite) -> None:
    async with httpx.AsyncClient(base_url=suite.http) as http:
        body = {"plan": DIAMOND, "request_id": "http-diamond", "labels": {"via": "http"}}
        accepted = await http.post("/v1/tasks", json=body)
        assert accepted.status_code in (200, 201), accepted.text
        name = accepted.json()["name"]
        events = []
        async with aconnect_sse(http, "GET", f"/v1/{name}/events") as source:
            async for event in source.aiter_sse():
                events.append(event)
                if len(events) == 4:
                    break
        headers = {"Last-Event-ID": events[-1].id}
        async with aconnect_sse(http, "GET", f"/v1/{name}/events", headers=headers) as source:
            events += [event async for event in source.aiter_sse()]
        assert [int(event.id.partition(".")[0]) for event in events] == list(range(1, len(events) + 1))
        assert json.loads(events[-1].data)["state"] == "succeeded"
        task = (await http.get(f"/v1/{name}")).json()
        assert (task["output"], task["labels"]) == (15, {"via": "http"})
        metrics = (await http.get(f"/v1/{name}/metrics")).json()
        assert len(metrics["steps"]) == 4
        assert len((await http.get(f"/v1/{name}/steps")).json()["steps"]) == 4


async def test_the_trace_of_the_caller_is_told_with_a_step_that_fails(suite, client: Client) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    word, total = {"value": "two"}, {"values": ["${word.value}", 1]}
    plan = {
        "steps": [
            {"name": "word", "agent": "echo", "input": word},
            {"name": "total", "agent": "add", "input": total},
        ]
    }
    async with httpx.AsyncClient(base_url=suite.http) as http:
        headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
        accepted = await http.post("/v1/tasks", json={"plan": plan}, headers=headers)
    task = accepted.json()["name"]
    await end_of(client, task)
    rows = [json.loads(row) for row in log_lines(suite, "worker") if task.removeprefix("tasks/") in row]
    assert {(row["step"], row["trace_id"]) for row in rows} == {("total", trace_id)}


async def test_two_gateways_serve_the_same_task(client: Client, suite, unused_port) -> None:
    port = unused_port()
    environment = suite.environment_of("gateway") | {
        "WAYBILL_GATEWAY_GRPC_PORT": str(port),
        "WAYBILL_GATEWAY_HTTP_PORT": "0",
        "WAYBILL_GATEWAY_METRICS_PORT": "0",
    }
    process = psutil.Popen([sys.executable, "-m", "waybill_gateway"], env=environment, stderr=subprocess.DEVNULL)
    try:
        task = await client.submit(plan={"steps": [{"name": "long", "agent": "slow", "input": {"seconds": 1}}]})
        async with Client(f"127.0.0.1:{port}") as other:
            here, there = await asyncio.gather(end_of(client, task), end_of(other, task))
            assert here == there
            assert await other.get(task) == await client.get(task)
            assert await other.metrics(task) == await client.metrics(task)
    finally:
        process.terminate()
        assert process.wait(30) == 0


async def test_the_same_request_id_returns_the_same_task(client: Client) -> None:
    first = await client.submit(plan=DIAMOND, request_id="twice")
    assert (await client.submit(plan=DIAMOND, request_id="twice")).name == first.name
    with pytest.raises(AlreadyExists):
        await client.submit(goal="something else", request_id="twice")


async def test_bad_requests_say_which_field_and_store_nothing(client: Client) -> None:
    with pytest.raises(NotFound):
        await client.get("tasks/0-00000000000000000000")
    with pytest.raises(InvalidArgument) as caught:
        await client.submit(plan={"steps": [{"name": "a", "agent": "add", "input": {"values": "no list"}}]})
    assert [violation.field for violation in caught.value.violations] == ["plan.steps[0].input.values"]
    task = await client.submit(plan=DIAMOND)
    with pytest.raises(InvalidArgument, match="from_sequence"):
        await anext(client.watch(task, from_sequence=100_000))


async def test_a_source_that_nobody_allowed_fails_the_task_and_is_named(client: Client) -> None:
    task = await client.submit(goal="What is in there?", paths=["/etc/passwd"])
    await end_of(client, task)
    ended = await client.get(task)
    assert ended.state is TaskState.FAILED
    assert "/etc/passwd" in ended.failure.message


async def test_every_service_shows_metrics_and_logs_as_json(suite, kinds) -> None:
    for kind in kinds[1:]:
        port = suite.environment_of(kind)[f"WAYBILL_{kind.upper()}_METRICS_PORT"]
        async with httpx.AsyncClient() as http:
            assert "process_cpu_seconds_total" in (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    rows = [json.loads(line) for line in log_lines(suite, "worker")]
    settled = [row for row in rows if {"task", "step", "agent", "attempt", "status", "trace_id"} <= row.keys()]
    assert settled
    assert all(re.fullmatch(r"[0-9a-f]{32}", row["trace_id"]) for row in settled)
