"""The table of what can be called over HTTP: the routes, the RPCs behind them, and their parameters and answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from waybill.core.task import TaskState
from waybill.rpc.schedule_forms import NewScheduleForm, ScheduleForm
from waybill.rpc.specs import BatchForm, SubmissionForm
from waybill_gateway.http_bodies import Action, Answer, BudgetSetting, Decision, LimitSetting, Retrying
from waybill_gateway.openapi_schemas import Schema, reference

_TEXT: Schema = {"type": "string"}
_EVENT_ID: Schema = {
    "type": "string",
    "pattern": r"^[0-9]{1,18}(\.[0-9a-f]{8})?$",
    "description": "Id of the last event that was seen, or its number: the stream goes on after it.",
}


def _part(meaning: str, pattern: str) -> Schema:
    return {"type": "string", "pattern": f"^{pattern}$", "description": meaning}


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
IN_PATH: dict[str, Schema] = {
    "task": _part("The id of a task, its name without `tasks/`.", "[A-Za-z0-9-]{1,64}"),
    "step": _part("The name of a step in its plan.", "[a-z][a-z0-9_-]{0,63}"),
    "agent": _part("The name of an agent.", "[a-z][a-z0-9_-]{0,63}"),
    "limit": _part(
        "What is limited: `agent:`, `tenant:`, `key:` or `model:` and a name.",
        "(agent|tenant|key|model):[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    ),
    "template": _part("The id of a template, its name without `templates/`.", "[a-z0-9][a-z0-9_-]{0,63}"),
    "schedule": _part("The id of a schedule, its name without `schedules/`.", "[a-z0-9][a-z0-9_-]{0,63}"),
    "letter": _part("The id of a dead letter, its name without `deadLetters/`.", r"[A-Za-z0-9-]{1,64}\.[0-9]{1,5}"),
}
"""The parameters that stand in paths."""

TAGS: dict[str, tuple[str, str]] = {
    "tasks": ("tasks", "Submit, follow, read and steer tasks."),
    "usage": ("usage", "What tasks used, and what they may cost."),
    "limits": ("limits", "What may run at once, or start in a minute."),
    "dead letters": ("deadLetters", "Steps that kept killing what ran them."),
    "agents": ("agents", "What workers can run."),
    "schedules": ("schedules", "Work that is submitted again and again."),
    "templates": ("templates", "Plans with parameters, kept by the planner."),
    "tenant": ("tenant", "The caller's tenant as a whole."),
    "gateway": ("", "The gateway itself."),
}
"""Tags by name: the collection that their paths begin with, and what they are about."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be called: `name` is the RPC behind it. `answer` is the schema of a 200, and `told` says what
    that is. `form` is the class of the body, if there is one. `suffix` tells it from another operation of the same RPC.

    One that `streams` sends Server-Sent Events: `events` are their types with the schemas of their data, and
    `last_event_id` is what a client sends to go on.
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
    told: str = "Done."
    events: tuple[tuple[str, Schema], ...] = ()
    last_event_id: Schema = field(default_factory=lambda: _EVENT_ID)
    media_type: str = "application/json"

    @property
    def id(self) -> str:
        """Its name in the document, which no other has."""
        return self.name + self.suffix

    @property
    def takes_key(self) -> bool:
        """Whether it changes something, so that `Idempotency-Key` may name the request."""
        return self.method != "GET" and self.form is not BatchForm

    @property
    def needs_body(self) -> bool:
        """Whether nothing can be called without a body: some of its fields are required, or one of several is."""
        if self.form is None:
            return False
        return self.form is SubmissionForm or any(item.required for item in msgspec.structs.fields(self.form))

    @property
    def may_be_empty(self) -> bool:
        """Whether it may answer 204."""
        return self.name in ("WatchTask", "WatchTasks")


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _page(name: str, kind: str) -> Schema:
    return _object(**{name: {"type": "array", "items": reference(kind)}, "next_page_token": _TEXT})


def _act(path: str, name: str, summary: str, answer: Schema, form: type = Action) -> Operation:
    return Operation("POST", path, name, summary, answer, form)


def _get(path: str, name: str, summary: str, answer: Schema, **query: Schema) -> Operation:
    return Operation("GET", path, name, summary, answer, None, tuple(query.items()))


_EVENTS: tuple[tuple[str, Schema], ...] = (
    ("*", {"description": "The type of an event is its `type`.", **reference("TaskEvent")}),
    ("watch_failed", {"description": "The stream broke on this side: reconnect.", **reference("Problem")}),
)
_NAMES = "Resource names or ids of the tasks that are followed, until all have ended. Not together with a filter."
_ENDED = [state.value for state in TaskState if state.ended]
_RESULT = {"anyOf": [_object(task=reference("Task")), _object(error=reference("Problem"))]}
_CALLS = _page("calls", "ModelCall")
_BUDGET = reference("TenantBudget")
_DAY: Schema = {"type": "string", "format": "date"}
_SCHEDULE = reference("Schedule")
_SCHEDULE_PATH = "/v1/schedules/{schedule}"
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
        "Accept a task durably, and stream its events until it has ended.",
        _TEXT,
        SubmissionForm,
        (("from_sequence", {"type": "integer", "minimum": 0}),),
        streams=True,
        told="`task` with the task as it was accepted, the task's events, and `task_result` with the task as it ended.",
        events=(("task", _object(task=reference("Task"))), *_EVENTS, ("task_result", _object(task=reference("Task")))),
    ),
    Operation(
        "GET",
        "/v1/tasks:watch",
        "WatchTasks",
        "Stream the results of tasks as they end.",
        _TEXT,
        query=(
            ("name", {"type": "array", "items": _TEXT, "maxItems": 1000, "description": _NAMES}),
            ("cursor", _TEXT),
            ("from_now", {"type": "boolean"}),
            *({**_FILTER, "state": {"type": "array", "items": {"enum": _ENDED}}}).items(),
        ),
        streams=True,
        told="`task_result` for each task that has ended, and `cursor` where only others have. Its id is the cursor.",
        events=(
            ("task_result", _object(task=reference("Task"), cursor=_TEXT)),
            ("cursor", _object(cursor=_TEXT)),
            ("watch_failed", {"description": "The stream broke on this side: reconnect.", **reference("Problem")}),
        ),
        last_event_id={"type": "string", "description": "The cursor to go on after; goes before `cursor`."},
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
        "Stream the events of a task as they come.",
        _TEXT,
        query=(("from_sequence", {"type": "integer", "minimum": 0}),),
        streams=True,
        told="The task's events, until it has ended. `stream_reset` tells that the history begins anew.",
        events=_EVENTS,
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
    _act("/v1/schedules", "CreateSchedule", "Create a schedule.", _SCHEDULE, NewScheduleForm),
    _get("/v1/schedules", "ListSchedules", "List schedules by name.", _page("schedules", "Schedule"), **_PAGING),
    _get(_SCHEDULE_PATH, "GetSchedule", "Return a schedule with its newest firings.", _SCHEDULE),
    Operation("PUT", _SCHEDULE_PATH, "UpdateSchedule", "Replace a schedule.", _SCHEDULE, ScheduleForm),
    Operation("DELETE", _SCHEDULE_PATH, "DeleteSchedule", "Delete a schedule.", {"type": "object"}, Action),
    _act(f"{_SCHEDULE_PATH}:pause", "PauseSchedule", "Pause a schedule.", _SCHEDULE),
    _act(f"{_SCHEDULE_PATH}:resume", "ResumeSchedule", "Resume a schedule.", _SCHEDULE),
    _act(f"{_SCHEDULE_PATH}:trigger", "TriggerSchedule", "Fire a schedule now.", reference("Task")),
    _get(
        "/v1/templates",
        "ListTemplates",
        "List plan templates by name, without their plans.",
        _object(templates={"type": "array", "items": reference("Template")}),
    ),
    _get("/v1/templates/{template}", "GetTemplate", "Return a plan template with its plan.", reference("Template")),
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


def _schema(path: str, name: str, summary: str) -> Operation:
    return Operation("GET", path, name, summary, {"type": "object"}, media_type="application/schema+json")


PLAIN_OPERATIONS = (
    _get("/openapi.json", "OpenApi", "Return this document.", {"type": "object"}),
    _schema("/schemas/plan.json", "PlanSchema", "Return the JSON Schema of plan files."),
    _schema("/schemas/template.json", "TemplateSchema", "Return the JSON Schema of plan template files."),
    _get("/healthz", "Health", "Tell whether the process serves.", _object(status=_TEXT)),
    _get("/readyz", "Readiness", "Tell whether a submission would be accepted now: else 503.", _object(status=_TEXT)),
)
"""What no RPC is behind."""


def tag_of(path: str) -> str:
    """The tag of a path."""
    collection = path.removeprefix("/v1/").replace(":", "/").partition("/")[0] if path.startswith("/v1/") else ""
    if collection == "tenant" and "budget" in path:
        return "usage"
    return next(name for name, (begin, _) in TAGS.items() if begin == collection)
