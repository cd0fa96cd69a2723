"""The OpenAPI document of the HTTP API: one table of what can be called, and the document made from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from waybill.core.task import TaskState
from waybill.rpc.caller import TENANT_KEY
from waybill.rpc.specs import BatchForm, SubmissionForm
from waybill_gateway.http_bodies import Action, Answer, BudgetSetting, Decision, LimitSetting, Retrying
from waybill_gateway.http_errors import PROBLEM_JSON
from waybill_gateway.openapi_schemas import PROBLEM, Schema, form_schemas, reference, resource_schemas

_TEXT: Schema = {"type": "string"}
_PAGING: dict[str, Schema] = {
    "page_size": {"type": "integer", "minimum": 0, "maximum": 1000},
    "page_token": _TEXT,
}
_FILTER: dict[str, Schema] = {
    "state": {"type": "array", "items": {"enum": [state.value for state in TaskState]}},
    "label": {"type": "array", "items": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}=.{0,255}$"}},
    "agent": _TEXT,
    "template": _TEXT,
    "created_from": {"type": "string", "format": "date-time"},
    "created_until": {"type": "string", "format": "date-time"},
}
_IN_PATH: dict[str, Schema] = {
    "task": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
    "step": {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"},
    "agent": {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"},
    "limit": {"type": "string", "pattern": "^(agent|tenant|key|model):[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
    "letter": {"type": "string", "pattern": r"^[A-Za-z0-9-]{1,64}\.[0-9]{1,5}$"},
}
_TENANT: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "default": "default"}
_REQUEST_ID: Schema = {"type": "string", "pattern": "^[!-~]{1,128}$"}
_FAILURES = {
    "400": "A field is wrong.",
    "404": "There is no such thing for this tenant.",
    "405": "Another method is meant.",
    "409": "Its state does not allow the call, or the request id was used for another call.",
    "413": "The body is too large.",
    "429": "The store is full, or a message is too large.",
    "503": "The store is away; try again.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be called: `name` is the RPC behind it. `answer` is the schema of a 200, `form` the class of
    the body, if there is one. `suffix` tells it from another operation of the same RPC.
    """

    method: str
    path: str
    name: str
    summary: str
    answer: Schema
    form: type | None = None
    query: tuple[tuple[str, Schema], ...] = ()
    streams: bool = False
    suffix: str = ""

    @property
    def id(self) -> str:
        """Its name in the document, which no other has."""
        return self.name + self.suffix


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _page(name: str, kind: str) -> Schema:
    return _object(**{name: {"type": "array", "items": reference(kind)}, "next_page_token": _TEXT})


def _act(path: str, name: str, summary: str, answer: Schema, form: type = Action) -> Operation:
    return Operation("POST", path, name, summary, answer, form)


def _get(path: str, name: str, summary: str, answer: Schema, **query: Schema) -> Operation:
    return Operation("GET", path, name, summary, answer, None, tuple(query.items()))


_RESULT = {"anyOf": [_object(task=reference("Task")), _object(error=reference("Problem"))]}
_CALLS = _page("calls", "ModelCall")
_BUDGET = reference("TenantBudget")
_DAY: Schema = {"type": "string", "format": "date"}
_STEP = "/v1/tasks/{task}/steps/{step}"

OPERATIONS = (
    _act("/v1/tasks", "SubmitTask", "Accept a task durably.", reference("Task"), SubmissionForm),
    _get("/v1/tasks", "ListTasks", "List tasks, newest first.", _page("tasks", "Task"), **_PAGING, **_FILTER),
    _act(
        "/v1/tasks:batch",
        "BatchSubmitTasks",
        "Accept many tasks, each on its own.",
        _object(results={"type": "array", "items": _RESULT}),
        BatchForm,
    ),
    Operation(
        "POST",
        "/v1/tasks:run",
        "RunTask",
        "Accept a task durably and stream its events until it has ended; `Last-Event-ID` resumes.",
        _TEXT,
        SubmissionForm,
        (("from_sequence", {"type": "integer", "minimum": 0}),),
        streams=True,
    ),
    _act(
        "/v1/tasks:retry",
        "RetryTasks",
        "Retry the tasks that a filter names, a page at a time.",
        _object(names={"type": "array", "items": _TEXT}, next_page_token=_TEXT),
        Retrying,
    ),
    _get("/v1/tasks/{task}", "GetTask", "Return a task.", reference("Task")),
    _act("/v1/tasks/{task}:cancel", "CancelTask", "Cancel a task.", reference("Task")),
    _act("/v1/tasks/{task}:pause", "PauseTask", "Pause a task.", reference("Task")),
    _act("/v1/tasks/{task}:resume", "ResumeTask", "Resume a task.", reference("Task")),
    _act("/v1/tasks/{task}:retry", "RetryTask", "Run a task again from what did not succeed.", reference("Task")),
    _get("/v1/tasks/{task}/steps", "ListSteps", "List steps.", _page("steps", "Step"), **_PAGING),
    _get("/v1/tasks/{task}/metrics", "GetTaskMetrics", "Return latency and cost.", reference("TaskMetrics")),
    _get(
        "/v1/tasks/{task}/effects",
        "ListEffects",
        "List the effects that agents guard.",
        _object(effects={"type": "array", "items": reference("Effect")}),
    ),
    Operation(
        "GET",
        "/v1/tasks/{task}/events",
        "WatchTask",
        "Stream events as they come; `Last-Event-ID` resumes. 204 if the task has ended and all was seen.",
        _TEXT,
        query=(("from_sequence", {"type": "integer", "minimum": 0}),),
        streams=True,
    ),
    _get(
        f"{_STEP}/attempts",
        "ListAttempts",
        "List the attempts of a step, oldest first.",
        _object(attempts={"type": "array", "items": reference("Attempt")}),
    ),
    _act(f"{_STEP}:answer", "AnswerStep", "Answer a step that waits for a person.", reference("Step"), Answer),
    _act(f"{_STEP}/effects:resolve", "ResolveEffect", "Decide an unknown effect.", reference("Effect"), Decision),
    _get("/v1/tasks/{task}/modelCalls", "ListModelCalls", "List model calls, oldest first.", _CALLS, **_PAGING),
    Operation(
        "GET",
        f"{_STEP}/modelCalls",
        "ListModelCalls",
        "List the model calls of a step, oldest first, with prompts and responses where they are kept.",
        _CALLS,
        query=tuple(_PAGING.items()),
        suffix="OfStep",
    ),
    _get(
        "/v1/usage",
        "GetUsage",
        "Return what a task used, by step, agent and model, or the caller's tenant, by day, agent and model.",
        _object(total=reference("Usage"), rows={"type": "array", "items": reference("UsageRow")}),
        task=_TEXT,
        from_day=_DAY,
        until_day=_DAY,
    ),
    _get("/v1/tenant/budget", "GetTenantBudget", "Return what the tenant may spend, and has.", _BUDGET),
    _act("/v1/tenant/budget:set", "SetTenantBudget", "Set what the tenant may spend.", _BUDGET, BudgetSetting),
    _get(
        "/v1/limits",
        "ListLimits",
        "List the limits that were set or learned.",
        _object(limits={"type": "array", "items": reference("Limit")}),
    ),
    _act("/v1/limits/{limit}:set", "SetLimit", "Set or remove a limit.", reference("Limit"), LimitSetting),
    _get("/v1/deadLetters", "ListDeadLetters", "List dead letters.", _page("dead_letters", "DeadLetter"), **_PAGING),
    _get("/v1/deadLetters/{letter}", "GetDeadLetter", "Return a dead letter.", reference("DeadLetter")),
    _act("/v1/deadLetters/{letter}:retry", "RetryDeadLetter", "Remove it and retry its task.", reference("Task")),
    _act("/v1/deadLetters/{letter}:drop", "DropDeadLetter", "Remove it.", {"type": "object"}),
    _get(
        "/v1/agents",
        "ListAgents",
        "List the agents that workers have announced.",
        _object(agents={"type": "array", "items": reference("Agent")}),
    ),
    _act("/v1/agents/{agent}:pause", "PauseAgent", "Pause an agent.", reference("Agent")),
    _act("/v1/agents/{agent}:resume", "ResumeAgent", "Resume an agent.", reference("Agent")),
    _act("/v1/tenant:pause", "PauseTenant", "Pause the caller's tenant.", reference("Tenant")),
    _act("/v1/tenant:resume", "ResumeTenant", "Resume the caller's tenant.", reference("Tenant")),
)
"""Everything under `/v1`."""


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    forms = {operation.form for operation in OPERATIONS if operation.form is not None}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Waybill", "version": version("waybill")},
        "paths": paths,
        "components": {"schemas": {**resource_schemas(), **form_schemas(sorted(forms, key=str)), "Problem": PROBLEM}},
    }


def openapi_endpoint() -> Any:
    """The endpoint of `GET /openapi.json`."""
    written = msgspec.json.encode(document())

    async def openapi(_request: Request) -> Response:
        """`GET /openapi.json`: the OpenAPI document of all of this."""
        return Response(written, media_type="application/json")

    return openapi


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": [
            *(_parameter("path", name, _IN_PATH[name]) for name in re.findall(r"\{(\w+)\}", operation.path)),
            *(_parameter("query", name, schema) for name, schema in operation.query),
            *(_parameter("header", name, schema) for name, schema in _headers(operation)),
        ],
        "responses": {
            "200": _response("Done.", operation.answer, "text/event-stream" if operation.streams else None),
            **({"204": {"description": "All was seen."}} if operation.streams else {}),
            **{status: _response(meaning, reference("Problem"), PROBLEM_JSON) for status, meaning in _FAILURES.items()},
        },
    }
    if operation.form is not None:
        described["requestBody"] = {
            "required": not issubclass(operation.form, Action),
            "content": {"application/json": {"schema": reference(operation.form.__name__)}},
        }
    return described


def _headers(operation: Operation) -> list[tuple[str, Schema]]:
    found = [(TENANT_KEY, _TENANT)]
    if operation.method == "POST" and operation.form is not BatchForm:
        found.append(("idempotency-key", _REQUEST_ID))
    if operation.streams:
        found.append(("last-event-id", {"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9a-f]{8})?$"}))
    return found


def _parameter(where: str, name: str, schema: Schema) -> dict[str, Any]:
    return {"in": where, "name": name, "required": where == "path", "schema": schema}


def _response(meaning: str, schema: Schema, media_type: str | None = None) -> dict[str, Any]:
    return {"description": meaning, "content": {media_type or "application/json": {"schema": schema}}}
