"""Resources as JSON, for HTTP and the command line: snake_case, enums in lower case, payloads inline, RFC 3339 times.

Counters, states and names are always shown; texts, failures, payloads and times only once they are set.
"""

from __future__ import annotations

import json
from typing import Any

from waybill.api.v1 import task_pb2
from waybill.rpc.budgets import budget_to_json, policy_to_json
from waybill.rpc.enums import EFFECT_STATE_FROM_PROTO, PRIORITY_FROM_PROTO, STEP_STATE_FROM_PROTO, TASK_STATE_FROM_PROTO
from waybill.rpc.events import failure_to_json, usage_to_json
from waybill.rpc.payloads import Inline, payload_to_json


def task_to_json(task: task_pb2.Task, inline: Inline = json.loads) -> dict[str, Any]:
    """A task as JSON."""
    state = TASK_STATE_FROM_PROTO.get(task.state)
    priority = PRIORITY_FROM_PROTO.get(task.priority)
    shown: dict[str, Any] = {
        "name": task.name,
        "state": state.value if state is not None else "unknown",
        "priority": priority.value if priority is not None else "unknown",
        "labels": dict(task.labels),
        "plan_revision": task.plan_revision,
        "step_count": task.step_count,
        "ended_step_count": task.ended_step_count,
        "last_sequence": task.last_sequence,
        "archived": task.archived,
        "usage": usage_to_json(task.usage),
        "reserved_microusd": task.reserved_microusd,
    }
    if task.HasField("budget"):
        shown["budget"] = budget_to_json(task.budget)
    if task.HasField("policy"):
        shown["policy"] = policy_to_json(task.policy)
    _show_texts(shown, task, ("goal", "template", "waiting_reason"))
    if task.HasField("output"):
        shown["output"] = payload_to_json(task.output, inline)
    if task.HasField("failure"):
        shown["failure"] = failure_to_json(task.failure)
    _show_times(shown, task, ("create_time", "end_time", "deadline_time", "start_time"))
    return shown


def result_to_json(result: task_pb2.TaskResult, inline: Inline = json.loads) -> dict[str, Any]:
    """A result as JSON."""
    return {"task": task_to_json(result.task, inline), "cursor": result.cursor}


def step_to_json(step: task_pb2.Step, inline: Inline = json.loads) -> dict[str, Any]:
    """A step as JSON."""
    state = STEP_STATE_FROM_PROTO.get(step.state)
    shown: dict[str, Any] = {
        "name": step.name,
        "agent": step.agent,
        "state": state.value if state is not None else "unknown",
        "attempt": step.attempt,
        "failed_attempts": step.failed_attempts,
        "depends_on": list(step.depends_on),
        "when": list(step.when),
        "plan_revision": step.plan_revision,
        "dropped": step.dropped,
        "usage": usage_to_json(step.usage),
    }
    _show_texts(shown, step, ("worker", "waiting_reason"))
    if step.HasField("input"):
        shown["input"] = payload_to_json(step.input, inline)
    if step.HasField("output"):
        shown["output"] = payload_to_json(step.output, inline)
    if step.HasField("question"):
        shown["question"] = question_to_json(step.question, inline)
    if step.HasField("question_input"):
        shown["question_input"] = payload_to_json(step.question_input, inline)
    if step.HasField("failure"):
        shown["failure"] = failure_to_json(step.failure)
    _show_times(shown, step, ("ready_time", "start_time", "end_time"))
    return shown


def question_to_json(question: task_pb2.Question, inline: Inline = json.loads) -> dict[str, Any]:
    """A question to a person as JSON, its schema and default inline."""
    shown: dict[str, Any] = {"prompt": question.prompt}
    if question.answer_schema:
        shown["answer_schema"] = inline(question.answer_schema.encode())
    if question.timeout_ms:
        shown["timeout_ms"] = question.timeout_ms
    if question.HasField("default_answer"):
        shown["default_answer"] = payload_to_json(question.default_answer, inline)
    return shown


def attempt_to_json(attempt: task_pb2.Attempt) -> dict[str, Any]:
    """An attempt as JSON."""
    state = STEP_STATE_FROM_PROTO.get(attempt.state)
    shown: dict[str, Any] = {
        "attempt": attempt.attempt,
        "state": state.value if state is not None else "unknown",
        "wait_ms": attempt.wait_ms,
        "run_ms": attempt.run_ms,
        "usage": usage_to_json(attempt.usage),
    }
    _show_texts(shown, attempt, ("worker",))
    if attempt.HasField("failure"):
        shown["failure"] = failure_to_json(attempt.failure)
    _show_times(shown, attempt, ("start_time", "end_time"))
    return shown


def effect_to_json(effect: task_pb2.Effect, inline: Inline = json.loads) -> dict[str, Any]:
    """An effect as JSON."""
    state = EFFECT_STATE_FROM_PROTO.get(effect.state)
    shown: dict[str, Any] = {
        "step": effect.step,
        "key": effect.key,
        "state": state.value if state is not None else "unknown",
        "attempt": effect.attempt,
    }
    if effect.HasField("result"):
        shown["result"] = payload_to_json(effect.result, inline)
    return shown


def letter_to_json(letter: task_pb2.DeadLetter, inline: Inline = json.loads) -> dict[str, Any]:
    """A dead letter as JSON."""
    shown: dict[str, Any] = {
        "name": letter.name,
        "step": letter.step,
        "agent": letter.agent,
        "deaths": letter.deaths,
        "attempt": letter.attempt,
    }
    if letter.HasField("failure"):
        shown["failure"] = failure_to_json(letter.failure)
    if letter.attempts:
        shown["attempts"] = [attempt_to_json(attempt) for attempt in letter.attempts]
    if letter.HasField("input"):
        shown["input"] = payload_to_json(letter.input, inline)
    _show_times(shown, letter, ("create_time",))
    return shown


def tenant_to_json(tenant: task_pb2.Tenant) -> dict[str, Any]:
    """A tenant as JSON."""
    return {"name": tenant.name, "paused": tenant.paused}


def metrics_to_json(metrics: task_pb2.TaskMetrics) -> dict[str, Any]:
    """Latency and cost of a task as JSON, every field shown."""
    return {
        "name": metrics.name,
        "elapsed_ms": metrics.elapsed_ms,
        "planning_ms": metrics.planning_ms,
        "wait_ms": metrics.wait_ms,
        "run_ms": metrics.run_ms,
        "usage": usage_to_json(metrics.usage),
        "steps": [
            {
                "step": step.step,
                "agent": step.agent,
                "attempts": step.attempts,
                "wait_ms": step.wait_ms,
                "run_ms": step.run_ms,
                "usage": usage_to_json(step.usage),
            }
            for step in metrics.steps
        ],
    }


def agent_to_json(agent: task_pb2.Agent, inline: Inline = json.loads) -> dict[str, Any]:
    """An agent as JSON, its schemas inline."""
    shown: dict[str, Any] = {
        "name": agent.name,
        "description": agent.description,
        "max_batch": agent.max_batch,
        "live_workers": agent.live_workers,
        "waiting_steps": agent.waiting_steps,
        "queued_batches": agent.queued_batches,
        "paused": agent.paused,
    }
    for name in ("input_schema", "output_schema"):
        schema: str = getattr(agent, name)
        if schema:
            shown[name] = inline(schema.encode())
    return shown


def _show_texts(shown: dict[str, Any], message: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(message, name):
            shown[name] = getattr(message, name)


def _show_times(shown: dict[str, Any], message: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if message.HasField(name):
            shown[name] = getattr(message, name).ToJsonString()
