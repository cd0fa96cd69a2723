"""Resources as JSON show every field that is set, and leave out what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from waybill.api.v1 import task_pb2
from waybill.rpc import conversion
from waybill.rpc.templates import template_to_json

FORMS: dict[type[Message], Any] = {
    task_pb2.Task: conversion.task_to_json,
    task_pb2.Step: conversion.step_to_json,
    task_pb2.Question: conversion.question_to_json,
    task_pb2.Attempt: conversion.attempt_to_json,
    task_pb2.Effect: conversion.effect_to_json,
    task_pb2.DeadLetter: conversion.letter_to_json,
    task_pb2.Agent: conversion.agent_to_json,
    task_pb2.Tenant: conversion.tenant_to_json,
    task_pb2.TaskMetrics: conversion.metrics_to_json,
    task_pb2.Budget: conversion.budget_to_json,
    task_pb2.TaskPolicy: conversion.policy_to_json,
    task_pb2.ModelCall: conversion.call_to_json,
    task_pb2.UsageRow: conversion.usage_row_to_json,
    task_pb2.TenantBudget: conversion.tenant_budget_to_json,
    task_pb2.Limit: conversion.limit_to_json,
    task_pb2.Template: template_to_json,
}
SCHEMAS = ("answer_schema", "input_schema", "output_schema", "parameters_schema", "plan")


def filled(kind: Any) -> Any:
    """A message with every field set, all the way down."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["key"] = "value"
        elif field.message_type is not None:
            is_payload = field.message_type.full_name.endswith(".Payload")
            part = conversion.json_payload(b"[5]") if is_payload else filled(field.message_type._concrete_class)
            target = getattr(message, field.name)
            target.append(part) if field.is_repeated else target.CopyFrom(part)
        elif field.is_repeated:
            getattr(message, field.name).append("text")
        elif field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, "{}" if field.name in SCHEMAS else "text")
        else:
            setattr(message, field.name, 2)
    return message


@pytest.mark.parametrize("kind", FORMS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_every_field_of_a_resource_is_in_its_json(kind: Any) -> None:
    shown = FORMS[kind](filled(kind))
    assert set(shown) == {field.name for field in kind.DESCRIPTOR.fields}
    assert json.loads(json.dumps(shown)) == shown
    assert not {"unknown", None} & {value for value in shown.values() if isinstance(value, str | None)}


@pytest.mark.parametrize("kind", FORMS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_what_is_not_set_is_left_out_unless_it_is_a_name_a_state_or_a_number(kind: Any) -> None:
    shown = FORMS[kind](kind())
    optional = {"goal", "template", "output", "failure", "waiting_reason", "create_time", "end_time", "deadline_time"}
    optional |= {"worker", "start_time", "question", "question_input", "result", "attempts", "input", *SCHEMAS}
    optional |= {"budget", "policy", "response", "max_revisions", "max_added_steps", "blocked_until", "day"}
    assert not optional & set(shown)


def test_a_question_stands_inline_in_its_step() -> None:
    step = task_pb2.Step(name="tasks/t1/steps/a", state=task_pb2.STEP_STATE_WAITING)
    step.question.prompt = "Go on?"
    step.question.answer_schema = '{"type":"boolean"}'
    step.question.default_answer.data = b"false"
    step.question_input.data = b'{"n":12345678901234567890}'
    shown = conversion.step_to_json(step)
    assert shown["state"] == "waiting"
    assert shown["question"] == {"prompt": "Go on?", "answer_schema": {"type": "boolean"}, "default_answer": False}
    assert shown["question_input"] == {"n": 12345678901234567890}
