"""Steering over gRPC and HTTP: each verb reaches the dispatcher as what it is, with an id to repeat it under."""

from __future__ import annotations

import json
from typing import Any

import grpc
import httpx
import pytest

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.errors import InvalidArgument, NotFound
from waybill.rpc.conversion import json_payload
from waybill.rpc.status import from_rpc_error

TASK = "tasks/t1"
STEP = f"{TASK}/steps/a"
LETTER = "deadLetters/t1.2"
DONE, DECIDED_FAILED = task_pb2.EFFECT_STATE_DONE, task_pb2.EFFECT_STATE_FAILED


async def refusal_of(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
async def test_a_task_is_steered_under_the_callers_id_or_a_random_one(stub, http, dispatcher, verb):
    dispatcher.add_task(TASK)
    method = getattr(stub, f"{verb.title()}Task")
    message = getattr(gateway_pb2, f"{verb.title()}TaskRequest")
    await method(message(name=TASK, request_id="r1"))
    await method(message(name=TASK))
    await http.post(f"/v1/{TASK}:{verb}")
    answered = await http.post(f"/v1/{TASK}:{verb}", json={"request_id": "r2"})
    await http.post(f"/v1/{TASK}:{verb}", headers={"Idempotency-Key": "r3"})
    seen = dispatcher.requests_seen
    action = dispatcher_pb2.TaskAction.Value(f"TASK_ACTION_{verb.upper()}")
    assert {(request.name, request.action) for request in seen} == {(TASK, action)}
    ids = [request.request_id for request in seen]
    assert (ids[0], ids[3], ids[4]) == ("r1", "r2", "r3")
    assert len(set(ids)) == 5
    assert all(ids)
    assert answered.json()["name"] == TASK


async def test_a_header_and_a_body_that_name_two_requests_are_refused(http, dispatcher):
    dispatcher.add_task(TASK)
    path = f"/v1/{TASK}:pause"
    refused = await http.post(path, json={"request_id": "a"}, headers={"Idempotency-Key": "b"})
    assert (refused.status_code, fields_of(refused)) == (400, ["Idempotency-Key"])
    twice = await http.post(path, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert (twice.status_code, fields_of(twice)) == (400, ["Idempotency-Key"])
    agreed = await http.post(path, json={"request_id": "a"}, headers={"Idempotency-Key": "a"})
    assert agreed.status_code == 200
    assert [request.request_id for request in dispatcher.requests_seen] == ["a"]
    submitted = await http.post("/v1/tasks", json={"goal": "Why?"}, headers={"Idempotency-Key": "s"})
    assert submitted.status_code == 200
    assert dispatcher.groups[0][0].request_id == "s"
    batch = await http.post("/v1/tasks:batch", json={"requests": [{"goal": "a"}]}, headers={"Idempotency-Key": "s"})
    assert (batch.status_code, fields_of(batch)) == (400, ["Idempotency-Key"])
    assert len(dispatcher.groups) == 1


async def test_many_tasks_are_retried_by_a_filter(stub, http, dispatcher):
    wanted = task_pb2.TaskFilter(
        states=[task_pb2.TASK_STATE_FAILED], labels={"team": "ops"}, agent="echo", template="daily"
    )
    wanted.create_time_from.FromJsonString("2026-01-01T00:00:00Z")
    wanted.create_time_until.FromJsonString("2026-01-02T00:00:00Z")
    request = gateway_pb2.RetryTasksRequest(filter=wanted, page_size=7, page_token="p", request_id="r")
    answered = await stub.RetryTasks(request)
    assert (list(answered.names), answered.next_page_token) == ([TASK], "more")
    body = {
        "filter": {
            "states": ["failed"],
            "labels": {"team": "ops"},
            "agent": "echo",
            "template": "daily",
            "create_time_from": "2026-01-01T00:00:00Z",
            "create_time_until": "2026-01-02T00:00:00Z",
        },
        "page_size": 7,
        "page_token": "p",
        "request_id": "r",
    }
    over_http = await http.post("/v1/tasks:retry", json=body)
    assert over_http.json() == {"names": [TASK], "next_page_token": "more"}
    first, second = dispatcher.requests_seen
    assert first == second
    assert (first.filter, first.page_size, first.page_token, first.request_id) == (wanted, 7, "p", "r")


async def test_a_listing_hands_its_whole_filter_on(http, dispatcher):
    parameters = [
        ("state", "failed,paused"),
        ("state", "running"),
        ("label", "a=1"),
        ("label", "b=x=y"),
        ("label", "c="),
    ]
    parameters += [("agent", "echo"), ("template", "daily"), ("created_from", "2026-01-01T00:00:00+01:00")]
    assert (await http.get("/v1/tasks", params=parameters)).status_code == 200
    wanted = dispatcher.last_request.filter
    assert [task_pb2.TaskState.Name(state) for state in wanted.states] == [
        "TASK_STATE_FAILED",
        "TASK_STATE_PAUSED",
        "TASK_STATE_RUNNING",
    ]
    assert dict(wanted.labels) == {"a": "1", "b": "x=y", "c": ""}
    assert (wanted.agent, wanted.template) == ("echo", "daily")
    assert wanted.create_time_from.ToJsonString() == "2025-12-31T23:00:00Z"
    assert not wanted.HasField("create_time_until")


@pytest.mark.parametrize("text", ["null", "false", "0", '"yes"', '{"big": 18446744073709551617}', "[1.0]"])
async def test_an_answer_is_any_json_and_stays_what_it_is(stub, http, dispatcher, text):
    body = f'{{"answer": {text}, "request_id": "r"}}'
    answered = await http.post(f"/v1/{STEP}:answer", content=body)
    assert answered.json()["output"] == json.loads(text)
    await stub.AnswerStep(gateway_pb2.AnswerStepRequest(name=STEP, answer=json_payload(text.encode()), request_id="r"))
    first, second = dispatcher.requests_seen
    assert first == second
    assert first.answer.data == text.encode()


async def test_attempts_and_effects_are_shown_and_an_effect_is_decided(stub, http, dispatcher):
    attempts = (await http.get(f"/v1/{STEP}/attempts")).json()["attempts"]
    assert [(item["attempt"], item["state"], item["worker"], item["run_ms"]) for item in attempts] == [
        (1, "failed", "w", 7)
    ]
    assert attempts[0]["failure"]["reason"] == "AGENT_ERROR"
    effects = (await http.get(f"/v1/{TASK}/effects")).json()["effects"]
    assert effects == [{"step": STEP, "key": "mail", "state": "unknown", "attempt": 0}]
    path = f"/v1/{STEP}/effects:resolve"
    done = await http.post(path, json={"key": "mail", "state": "done", "result": {"id": 5}})
    assert done.json() == {"step": STEP, "key": "mail", "state": "done", "attempt": 0, "result": {"id": 5}}
    failed = await http.post(path, json={"key": "mail", "state": "failed"})
    assert failed.json()["state"] == "failed"
    resolving = gateway_pb2.ResolveEffectRequest(step=STEP, key="mail", state=DONE)
    assert (await stub.ResolveEffect(resolving)).effect.state == DONE


async def test_dead_letters_are_listed_shown_retried_and_dropped(stub, http, dispatcher):
    listed = (await http.get("/v1/deadLetters?page_size=3")).json()
    assert [letter["name"] for letter in listed["dead_letters"]] == [LETTER]
    assert (listed["next_page_token"], dispatcher.requests_seen[-1].page_size) == ("more", 3)
    shown = (await http.get(f"/v1/{LETTER}")).json()
    assert [attempt["attempt"] for attempt in shown["attempts"]] == [1]
    assert (await http.post(f"/v1/{LETTER}:retry")).json()["name"] == TASK
    assert (await http.post(f"/v1/{LETTER}:drop", json={"request_id": "r"})).json() == {}
    retried, dropped = dispatcher.requests_seen[-2:]
    assert retried.action == dispatcher_pb2.DEAD_LETTER_ACTION_RETRY
    assert (dropped.action, dropped.request_id) == (dispatcher_pb2.DEAD_LETTER_ACTION_DROP, "r")
    assert (await stub.ListDeadLetters(gateway_pb2.ListDeadLettersRequest())).next_page_token == "more"
    assert (await stub.GetDeadLetter(gateway_pb2.GetDeadLetterRequest(name=LETTER))).dead_letter.name == LETTER
    assert (await stub.RetryDeadLetter(gateway_pb2.RetryDeadLetterRequest(name=LETTER))).task.name == TASK
    await stub.DropDeadLetter(gateway_pb2.DropDeadLetterRequest(name=LETTER))
    assert all(request.request_id for request in dispatcher.requests_seen[-2:])


async def test_agents_and_the_callers_tenant_are_paused_and_resumed(stub, http, dispatcher):
    acme = {"x-waybill-tenant": "acme"}
    assert (await http.post("/v1/agents/echo:pause")).json()["paused"] is True
    assert (await http.post("/v1/agents/echo:resume")).json()["paused"] is False
    assert (await http.post("/v1/tenant:pause", headers=acme)).json() == {"name": "acme", "paused": True}
    assert (await http.post("/v1/tenant:resume", headers=acme)).json() == {"name": "acme", "paused": False}
    assert [(request.name, request.paused) for request in dispatcher.requests_seen] == [
        ("agents/echo", True),
        ("agents/echo", False),
        ("", True),
        ("", False),
    ]
    assert all(request.request_id for request in dispatcher.requests_seen)
    assert (await stub.PauseAgent(gateway_pb2.PauseAgentRequest(name="agents/echo"))).agent.paused
    assert not (await stub.ResumeAgent(gateway_pb2.ResumeAgentRequest(name="agents/echo"))).agent.paused
    assert (await stub.PauseTenant(gateway_pb2.PauseTenantRequest())).tenant.paused
    assert not (await stub.ResumeTenant(gateway_pb2.ResumeTenantRequest())).tenant.paused


FAILED = task_pb2.TaskFilter(states=[task_pb2.TASK_STATE_FAILED])
BAD_PAYLOAD = task_pb2.Payload(media_type="text/plain", data=b"yes")


@pytest.mark.parametrize(
    ("request_message", "field"),
    [
        (gateway_pb2.PauseTaskRequest(name="t1"), "name"),
        (gateway_pb2.PauseTaskRequest(name=TASK, request_id="a b"), "request_id"),
        (gateway_pb2.ResumeTaskRequest(name=TASK, request_id="x" * 129), "request_id"),
        (gateway_pb2.RetryTaskRequest(name=TASK, request_id="\u00e4"), "request_id"),
        (gateway_pb2.CancelTaskRequest(name=TASK, request_id="\n"), "request_id"),
        (gateway_pb2.RetryTasksRequest(), "filter"),
        (gateway_pb2.RetryTasksRequest(filter=task_pb2.TaskFilter()), "filter"),
        (gateway_pb2.RetryTasksRequest(filter=task_pb2.TaskFilter(states=[2])), "filter.states"),
        (gateway_pb2.RetryTasksRequest(filter=task_pb2.TaskFilter(states=[99])), "filter.states"),
        (gateway_pb2.RetryTasksRequest(filter=FAILED, page_size=1001), "page_size"),
        (gateway_pb2.RetryTasksRequest(filter=FAILED, request_id=" "), "request_id"),
        (gateway_pb2.ListTasksRequest(filter=task_pb2.TaskFilter(labels={"-": "x"})), "filter.labels"),
        (gateway_pb2.ListTasksRequest(filter=task_pb2.TaskFilter(labels={"a": "x" * 256})), "filter.labels"),
        (
            gateway_pb2.ListTasksRequest(filter=task_pb2.TaskFilter(labels={f"k{n}": "" for n in range(33)})),
            "filter.labels",
        ),
        (gateway_pb2.ListTasksRequest(filter=task_pb2.TaskFilter(agent="A")), "filter.agent"),
        (gateway_pb2.ListTasksRequest(filter=task_pb2.TaskFilter(template="-a")), "filter.template"),
        (
            gateway_pb2.ListTasksRequest(filter=task_pb2.TaskFilter(create_time_from={"seconds": 2**62})),
            "filter.create_time_from",
        ),
        (
            gateway_pb2.ListTasksRequest(filter=task_pb2.TaskFilter(create_time_until={"nanos": -1})),
            "filter.create_time_until",
        ),
        (
            gateway_pb2.ListTasksRequest(
                filter=task_pb2.TaskFilter(create_time_from={"seconds": 5}, create_time_until={"seconds": 5})
            ),
            "filter.create_time_until",
        ),
        (gateway_pb2.AnswerStepRequest(name=TASK, answer=json_payload(b"1")), "name"),
        (gateway_pb2.AnswerStepRequest(name=STEP), "answer"),
        (gateway_pb2.AnswerStepRequest(name=STEP, answer=json_payload(b"{")), "answer"),
        (gateway_pb2.AnswerStepRequest(name=STEP, answer=BAD_PAYLOAD), "answer"),
        (gateway_pb2.AnswerStepRequest(name=STEP, answer=json_payload(b'"' + b"x" * 2**20 + b'"')), "answer"),
        (gateway_pb2.ListAttemptsRequest(parent=TASK), "parent"),
        (gateway_pb2.ListEffectsRequest(parent=STEP[:5]), "parent"),
        (gateway_pb2.ResolveEffectRequest(step=TASK, key="k", state=DONE), "step"),
        (gateway_pb2.ResolveEffectRequest(step=STEP, state=DONE), "key"),
        (gateway_pb2.ResolveEffectRequest(step=STEP, key="k" * 201, state=DONE), "key"),
        (gateway_pb2.ResolveEffectRequest(step=STEP, key="k"), "state"),
        (gateway_pb2.ResolveEffectRequest(step=STEP, key="k", state=task_pb2.EFFECT_STATE_UNKNOWN), "state"),
        (gateway_pb2.ResolveEffectRequest(step=STEP, key="k", state=DONE, result=json_payload(b"NaN")), "result"),
        (
            gateway_pb2.ResolveEffectRequest(step=STEP, key="k", state=DECIDED_FAILED, result=json_payload(b"1")),
            "result",
        ),
        (gateway_pb2.ListDeadLettersRequest(page_size=-1), "page_size"),
        (gateway_pb2.GetDeadLetterRequest(name="t1.2"), "name"),
        (gateway_pb2.RetryDeadLetterRequest(name="deadLetters/"), "name"),
        (gateway_pb2.DropDeadLetterRequest(name=LETTER, request_id=" "), "request_id"),
        (gateway_pb2.PauseAgentRequest(name="echo"), "name"),
        (gateway_pb2.ResumeAgentRequest(name="agents/echo", request_id=" "), "request_id"),
        (gateway_pb2.PauseTenantRequest(request_id=" "), "request_id"),
        (gateway_pb2.ResumeTenantRequest(request_id=" "), "request_id"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_reaches_the_dispatcher(stub, dispatcher, request_message, field):
    dispatcher.add_task(TASK)
    method = getattr(stub, type(request_message).__name__.removesuffix("Request"))
    error = await refusal_of(method(request_message))
    assert isinstance(error, InvalidArgument)
    assert [violation.field for violation in error.violations] == [field]
    assert (dispatcher.requests_seen, dispatcher.last_request) == ([], None)


@pytest.mark.parametrize(
    "request_message",
    [
        gateway_pb2.PauseTaskRequest(name="tasks/ä"),
        gateway_pb2.AnswerStepRequest(name=f"{TASK}/steps/A", answer=json_payload(b"1")),
        gateway_pb2.GetDeadLetterRequest(name="deadLetters/t1"),
        gateway_pb2.PauseAgentRequest(name="agents/A"),
    ],
)
async def test_what_nothing_can_be_called_does_not_exist(stub, request_message):
    method = getattr(stub, type(request_message).__name__.removesuffix("Request"))
    assert isinstance(await refusal_of(method(request_message)), NotFound)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (f"/v1/{TASK}:pause", b"[]", "body"),
        (f"/v1/{TASK}:pause", b'{"force": true}', "force"),
        (f"/v1/{TASK}:cancel", b'{"request_id": 5}', "request_id"),
        ("/v1/tasks:retry", b"", "filter"),
        ("/v1/tasks:retry", b'{"filter": {}}', "filter"),
        ("/v1/tasks:retry", b'{"filter": {"states": ["running"]}}', "filter.states"),
        ("/v1/tasks:retry", b'{"filter": {"states": ["odd"]}}', "filter.states[0]"),
        ("/v1/tasks:retry", b'{"filter": {"create_time_from": "now"}}', "filter.create_time_from"),
        ("/v1/tasks:retry", b'{"filter": {"states": ["failed"]}, "page_size": -3}', "page_size"),
        ("/v1/tasks:retry", b'{"filter": {"states": ["failed"]}, "page_size": 99999999999999}', "page_size"),
        (f"/v1/{STEP}:answer", b"{}", "answer"),
        (f"/v1/{STEP}:answer", b'{"answer": 1e999}', "answer"),
        (f"/v1/{STEP}/effects:resolve", b'{"state": "done"}', "key"),
        (f"/v1/{STEP}/effects:resolve", b'{"key": "k", "state": "maybe"}', "state"),
        (f"/v1/{STEP}/effects:resolve", b'{"key": "k", "state": "unknown"}', "state"),
        (f"/v1/{LETTER}:drop", b"nonsense", "body"),
    ],
)
async def test_a_malformed_body_is_refused_by_its_field(http, dispatcher, path, body, field):
    dispatcher.add_task(TASK)
    response = await http.post(path, content=body)
    assert (response.status_code, fields_of(response)) == (400, [field])
    assert dispatcher.requests_seen == []


def fields_of(response: httpx.Response) -> list[str]:
    return [violation["field"] for violation in response.json()["violations"]]
