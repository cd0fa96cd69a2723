"""Plans as JSON values and as YAML or JSON text, as people write them: what has its default is left out."""

from __future__ import annotations

from typing import Any

import msgspec

from waybill.core.plan import FailurePolicy, Plan, PlanStep, Question, RetryPolicy

_STEP = PlanStep(name="")
_RETRY = RetryPolicy()


def plan_value(plan: Plan) -> dict[str, Any]:
    """The plan as the JSON value that a plan file holds. Raises `ValueError` if an input in it is not JSON."""
    value: dict[str, Any] = {"steps": [_step(step) for step in plan.steps]}
    if plan.failure_policy is not FailurePolicy.STOP:
        value["failure_policy"] = plan.failure_policy.value
    return value


def plan_json(plan: Plan) -> str:
    """The plan as JSON text, indented."""
    return msgspec.json.format(msgspec.json.encode(plan_value(plan)), indent=2).decode() + "\n"


def plan_yaml(plan: Plan) -> str:
    """The plan as YAML text."""
    from waybill.core.yaml_writing import yaml_text

    return yaml_text(plan_value(plan))


def _step(step: PlanStep) -> dict[str, Any]:
    value: dict[str, Any] = {"name": step.name}
    if step.agent:
        value["agent"] = step.agent
    if step.question is not None:
        value["question"] = _question(step.question)
    if step.input != _STEP.input:
        value["input"] = msgspec.json.decode(step.input)
    for name in ("after", "when", "limits"):
        if getattr(step, name):
            value[name] = list(getattr(step, name))
    if step.retry != _RETRY:
        value["retry"] = _retry(step.retry)
    for name in ("run_timeout_ms", "queue_timeout_ms", "allow_skipped"):
        if getattr(step, name) != getattr(_STEP, name):
            value[name] = getattr(step, name)
    return value


def _retry(retry: RetryPolicy) -> dict[str, Any]:
    written = {name: getattr(retry, name) for name in RetryPolicy.__dataclass_fields__}
    differing = {name: value for name, value in written.items() if value != getattr(_RETRY, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in differing.items()}


def _question(question: Question) -> dict[str, Any]:
    value: dict[str, Any] = {"prompt": question.prompt}
    if question.answer_schema:
        value["answer_schema"] = msgspec.json.decode(question.answer_schema)
    if question.timeout_ms:
        value["timeout_ms"] = question.timeout_ms
    if question.default_answer:
        value["default_answer"] = msgspec.json.decode(question.default_answer)
    return value
