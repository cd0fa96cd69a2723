"""The gateway over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx
import pytest
from httpx_sse import aconnect_sse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from waybill.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, Unavailable

TASK = "tasks/t1"
EVENTS = f"/v1/{TASK}/events"


def error_of(response: httpx.Response) -> dict:
    """The problem that a response tells, whose shape is always the same."""
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "reason", "violations"}
    assert body["status"] == response.status_code
    return body


def fields_of(response: httpx.Response) -> list[str]:
    return [violation["field"] for violation in error_of(response)["violations"]]


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


async def test_a_submitted_task_can_be_read_listed_measured_and_cancelled(http):
    submitted = (await http.post("/v1/tasks", json={"goal": "Why?", "priority": "high"})).json()
    assert submitted["state"] == "running"
    path = f"/v1/{submitted['name']}"
    assert (await http.get(path)).json() == submitted
    listed = (await http.get("/v1/tasks", params={"page_size": 5, "state": "running,failed"})).json()
    assert listed == {"tasks": [submitted], "next_page_token": "next"}
    assert (await http.get(f"{path}/metrics")).json()["run_ms"] == 7
    cancelled = await http.post(f"{path}:cancel")
    assert cancelled.json()["state"] == "cancelled"
    agents = (await http.get("/v1/agents")).json()["agents"]
    assert agents[0]["input_schema"] == {"type": "object"}


async def test_numbers_of_a_payload_stay_what_they_are(http, dispatcher):
    dispatcher.add_task(TASK)
    response = await http.get(f"/v1/{TASK}/steps")
    assert '"big": 18446744073709551617, "whole": 5' in response.text
    assert response.json()["steps"][0]["state"] == "succeeded"


async def test_the_whole_of_a_submission_reaches_the_dispatcher(http, dispatcher):
    step = {"name": "a", "agent": "echo", "input": {"n": 5}, "after": ["b"], "run_timeout_ms": 9}
    step["retry"] = {"max_attempts": 2, "initial_backoff_ms": 0, "max_backoff_ms": 7, "multiplier": 1.5}
    body = {
        "plan": {"steps": [step]},
        "input": [1, 2.0],
        "documents": [
            {"name": "a.md", "media_type": "text/markdown", "text": "ä"},
            {"name": "b.bin", "media_type": "application/pdf", "data_base64": "AAE="},
        ],
        "paths": ["docs"],
        "priority": "low",
        "labels": {"team": "ops"},
        "request_id": "r1",
    }
    await http.post("/v1/tasks", json=body, headers={"x-waybill-tenant": "acme"})
    [[submission]] = dispatcher.groups
    assert (submission.tenant, submission.request_id) == ("acme", "r1")
    spec = submission.spec
    assert json.loads(spec.plan.steps[0].input.data) == {"n": 5}
    assert spec.plan.steps[0].retry.max_backoff_ms == 7
    assert (spec.plan.steps[0].after, spec.plan.steps[0].run_timeout_ms) == (["b"], 9)
    assert json.loads(spec.input.data) == [1, 2.0]
    assert [document.data for document in spec.documents] == ["ä".encode(), b"\x00\x01"]
    assert (list(spec.paths), spec.priority, dict(spec.labels)) == (["docs"], 3, {"team": "ops"})


async def test_a_batch_tells_of_each_item(http):
    body = {"requests": [{"goal": "a"}, {"goal": "refuse"}, {"goal": ""}]}
    results = (await http.post("/v1/tasks:batch", json=body)).json()["results"]
    assert results[0]["task"]["state"] == "running"
    assert results[1]["error"]["reason"] == "PLAN_INVALID"
    assert results[1]["error"]["violations"] == [{"field": "plan.steps[0].agent", "description": "no such agent"}]
    assert results[2]["error"]["code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff", "body"),
        (b"[]", "body"),
        (b'{"goal": 5}', "goal"),
        (b'{"goal": "a", "gaol": "b"}', "gaol"),
        (b"{}", "goal"),
        (b'{"goal": " "}', "goal"),
        (b'{"goal": "a", "plan": {"steps": []}}', "goal"),
        (b'{"plan": {"steps": []}}', "plan.steps"),
        (b'{"plan": {"steps": [{"agent": "a"}]}}', "plan.steps[0].name"),
        (b'{"plan": {"steps": [{"name": "a", "agent": "b", "run_timeout_ms": -1}]}}', "plan.steps[0].run_timeout_ms"),
        (
            b'{"plan": {"steps": [{"name": "a", "agent": "b", "retry": {"max_attempts": 9999999999}}]}}',
            "plan.steps[0].retry.max_attempts",
        ),
        (b'{"goal": "a", "input": NaN}', "body"),
        (b'{"goal": "a", "input": 1e999}', "input"),
        (b'{"goal": "a", "priority": "urgent"}', "priority"),
        (b'{"goal": "a", "labels": {"-": "x"}}', "labels"),
        (b'{"goal": "a", "request_id": "a b"}', "request_id"),
        (b'{"goal": "a", "documents": [{"name": "x", "text": "", "data_base64": ""}]}', "documents[0]"),
        (b'{"goal": "a", "documents": [{"name": "x", "data_base64": "*"}]}', "documents[0].data_base64"),
        (
            b'{"goal": "a", "documents": [{"name": "x", "text": ""}, {"name": "x", "text": ""}]}',
            "documents[1].name",
        ),
        (b'{"goal": "a", "input": ' + b"[" * 50_000, "body"),
        (b'{"goal": "a", "input": ' + b"[" * 300 + b"]" * 300 + b"}", "input"),
    ],
)
async def test_a_malformed_submission_is_refused_by_its_field(http, body, field):
    response = await http.post("/v1/tasks", content=body)
    assert response.status_code == 400
    assert fields_of(response) == [field]


async def test_no_body_whatever_makes_the_gateway_fail(http):
    """One gateway for all examples, so the examples run inside the test and not around it."""
    loop = asyncio.get_running_loop()
    json_values = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | FIELDS, inner, max_size=4),
        max_leaves=12,
    )
    bodies = st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode())

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(bodies, st.sampled_from(["/v1/tasks", "/v1/tasks:batch"]))
    def examples(body: bytes, path: str) -> None:
        response = asyncio.run_coroutine_threadsafe(http.post(path, content=body), loop).result()
        assert response.status_code in (200, 400), response.text
        if response.status_code == 400:
            assert fields_of(response)

    await asyncio.to_thread(examples)


FIELDS = st.sampled_from(
    ["goal", "plan", "steps", "name", "agent", "input", "documents", "labels", "requests", "retry"]
)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/tasks?page_size=x", "page_size"),
        ("/v1/tasks?page_size=-1", "page_size"),
        ("/v1/tasks?page_size=1001", "page_size"),
        ("/v1/tasks?page_size=99999999999999999999", "page_size"),
        ("/v1/tasks?page_token=forged", "page_token"),
        ("/v1/tasks?state=sleeping", "state"),
        ("/v1/tasks?stat=running", "stat"),
        ("/v1/tasks?label=team", "label"),
        ("/v1/tasks?label=-=x", "label"),
        ("/v1/tasks?label=a=1&label=a=2", "label"),
        ("/v1/tasks?agent=No", "agent"),
        ("/v1/tasks?template=No", "template"),
        ("/v1/tasks?created_from=yesterday", "created_from"),
        ("/v1/tasks?created_until=99999999999", "created_until"),
        ("/v1/tasks?created_from=2026-01-02T00:00:00Z&created_until=2026-01-01T00:00:00Z", "created_until"),
        ("/v1/deadLetters?page_size=1001", "page_size"),
        ("/v1/deadLetters?state=failed", "state"),
        (f"{EVENTS}?from_sequence=-1", "from_sequence"),
        (f"{EVENTS}?from_sequence=9", "from_sequence"),
        (f"{EVENTS}?from_sequence=%D9%A1", "from_sequence"),
        (f"/v1/{TASK}/steps?page_size=0x1", "page_size"),
    ],
)
async def test_a_bad_parameter_is_refused_by_its_name(http, dispatcher, path, field):
    dispatcher.add_task(TASK)
    response = await http.get(path)
    assert response.status_code == 400
    assert fields_of(response) == [field]


async def test_a_malformed_tenant_is_refused(http):
    response = await http.get("/v1/agents", headers={"x-waybill-tenant": "a b"})
    assert (response.status_code, fields_of(response)) == (400, ["x-waybill-tenant"])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("gone"), 404),
        (AlreadyExists("used"), 409),
        (FailedPrecondition("it has ended"), 409),
        (ResourceExhausted("full"), 429),
        (Unavailable("store away"), 503),
        (RuntimeError("redis://secret"), 500),
    ],
)
async def test_each_error_has_its_status(http, dispatcher, error, status):
    dispatcher.add_task(TASK)
    dispatcher.error = error
    response = await http.post(f"/v1/{TASK}:cancel")
    assert response.status_code == status
    assert error_of(response)["code"] == (error.code.name if status != 500 else "INTERNAL")
    assert "secret" not in response.text


@pytest.mark.parametrize("content", [b"x" * 100_001, None])
async def test_a_body_over_the_cap_is_refused_with_the_cap(http, content):
    async def chunks():
        for _ in range(20):
            yield b"x" * 10_000

    response = await http.post("/v1/tasks", content=content or chunks())
    assert response.status_code == 413
    assert error_of(response)["reason"] == "BODY_TOO_LARGE"
    assert "100000" in error_of(response)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/tasks/", 404),
        ("DELETE", "/v1/tasks", 405),
        ("GET", "/v1/tasks:batch", 405),
        ("GET", "/v1/tasks/unknown", 404),
        ("GET", "/v1/tasks/..%00", 404),
        ("GET", "/v1/tasks/unknown/events", 404),
        ("GET", "/v1/tasks/t1/steps/A/attempts", 404),
        ("GET", "/v1/deadLetters/t1.3", 404),
        ("POST", "/v1/deadLetters/t1:drop", 404),
        ("POST", "/v1/agents/A:pause", 404),
        ("GET", "/v1/tasks:retry", 405),
    ],
)
async def test_what_does_not_exist_is_json_too(http, method, path, status):
    response = await http.request(method, path)
    assert response.status_code == status
    error_of(response)


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


async def test_health_and_readiness(http, dispatcher, eventually):
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).status_code == 200
    await dispatcher.kill()
    assert (await http.get("/readyz")).status_code == 503
    assert (await http.get("/healthz")).status_code == 200


async def test_requests_are_counted_by_route_never_by_path(gateway, http):
    for number in range(3):
        await http.get(f"/v1/tasks/unknown-{number}")
    await http.get("/secret-path")
    metrics = await http.get(f"http://127.0.0.1:{gateway.server.metrics_port}/metrics")
    assert 'waybill_http_requests_total{method="GET",route="get_task",status="404"}' in metrics.text
    assert "unknown-1" not in metrics.text
    assert "secret-path" not in metrics.text


async def test_a_problem_says_where_its_kind_is_described(http, dispatcher):
    dispatcher.add_task(TASK)
    wrong = error_of(await http.post("/v1/tasks", json={"goal": "refuse"}))
    assert (wrong["type"], wrong["detail"]) == ("/docs/problems#PLAN_INVALID", "bad plan")
    again = error_of(await http.post("/v1/tasks", json={"goal": " "}))
    dispatcher.error = FailedPrecondition("of a newer release", reason="NOT_HEARD_OF")
    unknown = error_of(await http.post(f"/v1/{TASK}:cancel"))
    nowhere = error_of(await http.get("/v1/nothing"))
    assert again["title"] != wrong["title"]
    assert (unknown["type"], unknown["title"], unknown["reason"]) == ("about:blank", "Conflict", "NOT_HEARD_OF")
    assert (nowhere["type"], nowhere["title"], nowhere["code"]) == ("about:blank", "Not Found", "NOT_FOUND")


async def test_what_may_be_repeated_says_when(http, dispatcher):
    dispatcher.add_task(TASK)
    dispatcher.error = Unavailable("store away")
    assert (await http.post(f"/v1/{TASK}:cancel")).headers["retry-after"] == "1"
