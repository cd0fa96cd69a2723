"""What a client wants done as JSON, as it is written in the body of a submission: only what differs from the default.

Reading it again (`spec_from_json`) gives the same spec.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from waybill.api.v1 import task_pb2
from waybill.core.plan import FailurePolicy
from waybill.core.task import Priority
from waybill.rpc.budgets import POLICY_LISTS, budget_to_json, policy_to_json
from waybill.rpc.enums import FAILURE_POLICY_FROM_PROTO, PRIORITY_FROM_PROTO
from waybill.rpc.payloads import Inline, payload_to_json
from waybill.rpc.resources import question_to_json

_RETRY_FIELDS = ("max_attempts", "initial_backoff_ms", "max_backoff_ms", "multiplier", "jitter", "final_reasons")


def spec_to_json(spec: task_pb2.TaskSpec, inline: Inline = json.loads) -> dict[str, Any]:
    """The spec of a submission as JSON."""
    shown: dict[str, Any] = {"goal": spec.goal} if spec.goal else {}
    if spec.HasField("plan"):
        shown["plan"] = plan_to_json(spec.plan, inline)
    for name in ("input", "parameters"):
        if spec.HasField(name):
            shown[name] = payload_to_json(getattr(spec, name), inline)
    if spec.documents:
        shown["documents"] = [_document(document) for document in spec.documents]
    if spec.paths:
        shown["paths"] = list(spec.paths)
    priority = PRIORITY_FROM_PROTO.get(spec.priority, Priority.NORMAL)
    if priority is not Priority.NORMAL:
        shown["priority"] = priority.value
    if spec.labels:
        shown["labels"] = dict(spec.labels)
    _show_set(shown, spec, ("deadline_ms", "template"))
    if spec.HasField("budget"):
        shown["budget"] = budget_to_json(spec.budget)
    if spec.HasField("policy"):
        policy = policy_to_json(spec.policy)
        shown["policy"] = {name: value for name, value in policy.items() if value or name not in POLICY_LISTS}
    return shown


def plan_to_json(plan: task_pb2.Plan, inline: Inline = json.loads) -> dict[str, Any]:
    """A plan as JSON, as it is written in a plan file."""
    shown: dict[str, Any] = {"steps": [_step(step, inline) for step in plan.steps]}
    policy = FAILURE_POLICY_FROM_PROTO.get(plan.failure_policy, FailurePolicy.STOP)
    if policy is not FailurePolicy.STOP:
        shown["failure_policy"] = policy.value
    return shown


def _step(step: task_pb2.PlanStep, inline: Inline) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": step.name}
    _show_set(shown, step, ("agent",))
    if step.HasField("input"):
        shown["input"] = payload_to_json(step.input, inline)
    if step.HasField("question"):
        shown["question"] = question_to_json(step.question, inline)
    if step.HasField("retry"):
        shown["retry"] = {
            field.name: list(value) if field.name == "final_reasons" else value
            for field, value in step.retry.ListFields()
            if field.name in _RETRY_FIELDS
        }
    _show_set(shown, step, ("after", "when", "allow_skipped", "limits", "run_timeout_ms", "queue_timeout_ms"))
    return shown


def _document(document: task_pb2.Document) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": document.name}
    _show_set(shown, document, ("media_type",))
    try:
        shown["text"] = document.data.decode()
    except UnicodeDecodeError:
        shown["data_base64"] = base64.b64encode(document.data).decode()
    return shown


def _show_set(shown: dict[str, Any], message: Any, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(message, name)
        if value:
            is_plain = isinstance(value, (str, int, bool, Mapping))
            shown[name] = value if is_plain else list(value)
