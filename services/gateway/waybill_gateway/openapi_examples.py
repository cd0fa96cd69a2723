"""Examples of the OpenAPI document: bodies by RPC and name, answers by operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from waybill.errors import Violation
from waybill_gateway.http_errors import problem

_GOAL: dict[str, Any] = {
    "goal": "What is a tide?",
    "documents": [{"name": "tides.md", "text": "A tide is the rise and fall of the sea."}],
    "labels": {"team": "ocean"},
}
_PLAN: dict[str, Any] = {
    "plan": {
        "steps": [
            {"name": "find", "agent": "retriever", "input": {"question": "${task.input.question}"}},
            {
                "name": "judge",
                "agent": "analyst",
                "input": {"question": "${task.input.question}", "passages": "${find.passages}"},
                "retry": {"max_attempts": 5},
            },
        ]
    },
    "input": {"question": "What is a tide?"},
    "documents": _GOAL["documents"],
}
REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "SubmitTask": {"goal": _GOAL, "plan": _PLAN, "template": {"template": "summary", "parameters": {"words": 200}}},
    "RunTask": {"goal": _GOAL, "plan": _PLAN},
    "BatchSubmitTasks": {"two": {"requests": [{**_GOAL, "request_id": "tide-1"}, {**_PLAN, "request_id": "tide-2"}]}},
    "CancelTask": {"named": {"request_id": "cancel-1"}},
    "RetryTasks": {"failed": {"filter": {"states": ["failed"], "labels": {"team": "ocean"}}, "page_size": 100}},
    "AnswerStep": {"yes": {"answer": True}},
    "ResolveEffect": {
        "happened": {"key": "mail", "state": "done", "result": {"id": 7}},
        "did not": {"key": "mail", "state": "failed"},
    },
    "SetTenantBudget": {"five dollars a day": {"max_day_microusd": 5_000_000}, "none": {}},
    "SetLimit": {"four at once": {"max_concurrency": 4}, "none": {}},
    "CreateSchedule": {
        "mornings": {
            "id": "tides",
            "spec": _GOAL,
            "cron": "30 8 * * MON-FRI",
            "time_zone": "Europe/Berlin",
            "overlap_policy": "queue",
        },
        "every five minutes": {"id": "tides", "spec": _PLAN, "interval_ms": 300_000, "catch_up_policy": "none"},
    },
    "UpdateSchedule": {"hourly": {"spec": _GOAL, "cron": "0 * * * *"}},
}

_USAGE = {"input_tokens": 0, "output_tokens": 0, "cost_microusd": 0}
_TASK: dict[str, Any] = {
    "name": "tasks/0-6f1d2c9a",
    "state": "running",
    "priority": "normal",
    "labels": {"team": "ocean"},
    "plan_revision": 1,
    "step_count": 3,
    "ended_step_count": 1,
    "last_sequence": 9,
    "archived": False,
    "usage": _USAGE,
    "reserved_microusd": 0,
    "goal": "What is a tide?",
    "create_time": "2026-11-24T09:30:00.045Z",
}
_STEP: dict[str, Any] = {
    "name": "tasks/0-6f1d2c9a/steps/write",
    "agent": "writer",
    "state": "pending",
    "attempt": 0,
    "failed_attempts": 0,
    "depends_on": ["judge"],
    "when": [],
    "plan_revision": 1,
    "dropped": False,
    "usage": _USAGE,
}
_SCHEDULE: dict[str, Any] = {
    "name": "schedules/tides",
    "spec": _GOAL,
    "time_zone": "Europe/Berlin",
    "overlap_policy": "queue",
    "catch_up_policy": "latest",
    "catch_up_window_ms": 86_400_000,
    "paused": False,
    "queued": False,
    "submitted_count": 1,
    "cron": "30 8 * * MON-FRI",
    "next_time": "2026-11-25T07:30:00Z",
    "create_time": "2026-11-23T12:00:00.120Z",
    "update_time": "2026-11-23T12:00:00.120Z",
    "firings": [
        {
            "due_time": "2026-11-24T07:30:00Z",
            "decide_time": "2026-11-24T07:30:00.004Z",
            "outcome": "submitted",
            "triggered": False,
            "count": 1,
            "task": "tasks/0-6f1d2c9a",
        }
    ],
}
_EVENTS = """\
id: 1.5d1c9a04
event: task_accepted
data: {"sequence":1,"time":"2026-11-24T09:30:00.045Z","type":"task_accepted","digest":1562155524,"state":"planning"}

"""
_ENDED = """\
event: task_result
data: {"task":{"name":"tasks/0-6f1d2c9a","state":"succeeded","output":{"report":"A tide is ... [1]"}}}

"""
_RESULT = """\
id: cjE6MC02ZjFkMmM5YToxNzk1NTEyNjAwMDQ1OjA6
event: task_result
data: {"task":{"name":"tasks/0-6f1d2c9a","state":"succeeded","output":{"report":"A tide is ... [1]"}},"cursor":"cjE6."}

"""
_ACCEPTED = """\
event: task
data: {"task":{"name":"tasks/0-6f1d2c9a","state":"planning"}}

"""
ANSWERS: Mapping[str, Any] = {
    "SubmitTask": {**_TASK, "state": "planning", "plan_revision": 0, "step_count": 0, "ended_step_count": 0},
    "RunTask": _ACCEPTED + _EVENTS + _ENDED,
    "WatchTasks": _RESULT,
    "GetTask": _TASK,
    "ListTasks": {"tasks": [_TASK], "next_page_token": ""},
    "ListSteps": {"steps": [_STEP], "next_page_token": ""},
    "WatchTask": _EVENTS,
    "CancelTask": {**_TASK, "state": "cancelling"},
    "AnswerStep": {**_STEP, "agent": "", "state": "succeeded", "output": True},
    "GetTemplate": {
        "name": "templates/summary",
        "description": "A summary of so many words.",
        "parameters_schema": {"type": "object", "properties": {"words": {"type": "integer"}}, "required": ["words"]},
        "plan": {"steps": [{"name": "write", "agent": "writer", "input": {"words": "${parameters.words}"}}]},
    },
    "GetTenantBudget": {"max_total_microusd": 0, "max_day_microusd": 5_000_000, "spent_day_microusd": 81_200},
    "GetSchedule": _SCHEDULE,
    "SetLimit": {"name": "limits/agent:writer", "max_concurrency": 4, "held": 1, "waiting": 0},
}

PROBLEM_EXAMPLE: Mapping[str, Any] = problem(
    grpc.StatusCode.INVALID_ARGUMENT,
    "PLAN_INVALID",
    "the plan is not valid: plan.steps[1].agent: no worker has announced the agent analist",
    [Violation("plan.steps[1].agent", "no worker has announced the agent analist")],
)
