"""The gateway over HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest
from http_errors import error_of, fields_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from waybill.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, Unavailable

TASK = "tasks/t1"
EVENTS = f"/v1/{TASK}/events"


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
