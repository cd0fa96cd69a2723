"""What the edge requires of a submission: every check that needs neither the agents nor the store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.core import limits
from waybill.core.ids import random_id
from waybill.errors import InvalidArgument, InvalidPlan, Violation
from waybill.rpc.budgets import budget_violations, policy_violations
from waybill.rpc.enums import PRIORITY_FROM_PROTO
from waybill.rpc.payloads import payload_defect
from waybill.rpc.plans import plan_violations, whole_plan_violations
from waybill.rpc.templates import is_made_from_template

MAX_SUBMISSION_BYTES = 24 * limits.MIB
"""Largest submission as a message: below the largest message, so that it fits into one together with its caller."""
MAX_DOCUMENT_NAME_CHARS = 255
MAX_PATH_CHARS = 4_096

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(\s*;[\x20-\x7e]{0,255})?")
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def admitted_request_id(request: gateway_pb2.SubmitTaskRequest) -> str:
    """The request id of a submission that may pass, a random one if the caller gave none.

    Raises `InvalidArgument`, or `InvalidPlan` if all is well but the plan's size, with every violation found. Steps
    that are wrong by themselves pass: the dispatcher lists them together with what is wrong between steps.
    """
    found = _violations(request.spec, whole_plan_violations) + _request_id_violations(request)
    if found:
        raise _error(spec_violations(request.spec) + _request_id_violations(request))
    return request.request_id or random_id()


def _request_id_violations(request: gateway_pb2.SubmitTaskRequest) -> list[Violation]:
    if not request.request_id or limits.REQUEST_ID.fullmatch(request.request_id):
        return []
    allowed = f"must be 1 to {limits.MAX_REQUEST_ID_CHARS} visible ASCII characters without spaces"
    return [Violation("request_id", allowed)]


def _error(found: list[Violation]) -> InvalidArgument:
    if all(violation.field.startswith("plan.") for violation in found):
        return InvalidPlan.of(found)
    shown = "; ".join(f"{violation.field}: {violation.description}" for violation in found[:3])
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return InvalidArgument(f"{shown}{more}", found)


def spec_violations(spec: task_pb2.TaskSpec) -> list[Violation]:
    """What is wrong with a spec, by the fields of the spec."""
    return _violations(spec, plan_violations)


def _violations(spec: task_pb2.TaskSpec, of_plan: Callable[[task_pb2.Plan], list[Violation]]) -> list[Violation]:
    size_bytes = spec.ByteSize()
    if size_bytes > MAX_SUBMISSION_BYTES:
        limit = f"over the limit of {MAX_SUBMISSION_BYTES}; split it or send sources as paths"
        return [Violation("spec", f"has {size_bytes} bytes, {limit}")]
    found = _work_violations(spec, of_plan)
    defect = payload_defect(spec.input, limits.MAX_INPUT_BYTES) if spec.HasField("input") else ""
    if defect:
        found.append(Violation("input", defect))
    if spec.documents:
        found += _document_violations(spec)
    if spec.paths:
        found += _path_violations(spec)
    if spec.labels:
        found += _label_violations(spec)
    if spec.priority not in PRIORITY_FROM_PROTO:
        found.append(Violation("priority", f"is {spec.priority}, which is no priority; use high, normal or low"))
    if not 0 <= spec.deadline_ms <= limits.MAX_DEADLINE_MS:
        allowed = f"must lie between 1 and {limits.MAX_DEADLINE_MS}, or be 0 for none"
        found.append(Violation("deadline_ms", f"is {spec.deadline_ms}, and {allowed}"))
    if spec.HasField("start_time"):
        found += _start_violations(spec)
    if spec.template and not limits.TEMPLATE_NAME.fullmatch(spec.template):
        allowed = 'use up to 64 of a-z, 0-9, "_" and "-", starting with a letter or digit'
        found.append(Violation("template", f"{spec.template[:80]!r} is no template's name; {allowed}"))
    if spec.HasField("budget"):
        found += budget_violations(spec.budget)
    if spec.HasField("policy"):
        found += policy_violations(spec.policy)
    return found


def _start_violations(spec: task_pb2.TaskSpec) -> list[Violation]:
    seconds, nanos = spec.start_time.seconds, spec.start_time.nanos
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND or not 0 <= nanos < 1_000_000_000:
        return [Violation("start_time", "is no time of the years 1 to 9999; send one such as 2026-11-24T09:30:00Z")]
    ahead_ms = spec.start_time.ToMilliseconds() - time.time_ns() // 1_000_000
    if ahead_ms > limits.MAX_START_AHEAD_MS:
        limit = f"over the limit of {limits.MAX_START_AHEAD_MS} (a year); submit it later"
        return [Violation("start_time", f"lies {ahead_ms} ms ahead, {limit}")]
    return []


def _work_violations(spec: task_pb2.TaskSpec, of_plan: Callable[[task_pb2.Plan], list[Violation]]) -> list[Violation]:
    """What is wrong with the goal, the plan, or the parameters of a template."""
    if spec.HasField("parameters") and not is_made_from_template(spec):
        told = "are for a template, without a goal and a plan; leave them out, or name a template"
        return [Violation("parameters", told)]
    if is_made_from_template(spec):
        defect = payload_defect(spec.parameters, limits.MAX_PARAMETER_BYTES)
        return [Violation("parameters", defect)] if defect else []
    if bool(spec.goal) == spec.HasField("plan"):
        given = "two are given" if spec.goal else "none is given"
        return [Violation("goal", f"exactly one of goal, plan and template is required, and {given}")]
    if spec.HasField("plan"):
        return of_plan(spec.plan)
    if not spec.goal.strip():
        return [Violation("goal", "is blank; say what to do")]
    size_bytes = len(spec.goal.encode())
    if size_bytes > limits.MAX_GOAL_BYTES:
        return [Violation("goal", f"has {size_bytes} bytes, over the limit of {limits.MAX_GOAL_BYTES}; shorten it")]
    return []


def _document_violations(spec: task_pb2.TaskSpec) -> list[Violation]:
    if len(spec.documents) > limits.MAX_DOCUMENTS:
        limit = f"over the limit of {limits.MAX_DOCUMENTS}; join some"
        return [Violation("documents", f"has {len(spec.documents)} documents, {limit}")]
    found: list[Violation] = []
    total_bytes = sum(len(document.data) for document in spec.documents)
    if total_bytes > limits.MAX_DOCUMENT_BYTES:
        limit = f"over the limit of {limits.MAX_DOCUMENT_BYTES}; send large sources as paths"
        found.append(Violation("documents", f"have {total_bytes} bytes in all, {limit}"))
    names: set[str] = set()
    for position, document in enumerate(spec.documents):
        field = f"documents[{position}]"
        if not 1 <= len(document.name) <= MAX_DOCUMENT_NAME_CHARS or _CONTROL.search(document.name):
            allowed = f"must have 1 to {MAX_DOCUMENT_NAME_CHARS} characters, none of them a control character"
            found.append(Violation(f"{field}.name", allowed))
        elif document.name in names:
            found.append(Violation(f"{field}.name", f'"{document.name}" is used twice; citations need one each'))
        names.add(document.name)
        if document.media_type and not _MEDIA_TYPE.fullmatch(document.media_type):
            found.append(Violation(f"{field}.media_type", 'is no media type; send one such as "text/markdown"'))
    return found


def _path_violations(spec: task_pb2.TaskSpec) -> list[Violation]:
    if len(spec.paths) > limits.MAX_PATHS:
        limit = f"over the limit of {limits.MAX_PATHS}; name folders"
        return [Violation("paths", f"has {len(spec.paths)} paths, {limit}")]
    return [
        Violation(f"paths[{position}]", f"must have 1 to {MAX_PATH_CHARS} characters, none of them NUL")
        for position, path in enumerate(spec.paths)
        if not 1 <= len(path) <= MAX_PATH_CHARS or "\0" in path
    ]


def _label_violations(spec: task_pb2.TaskSpec) -> list[Violation]:
    if len(spec.labels) > limits.MAX_LABELS:
        return [Violation("labels", f"has {len(spec.labels)} labels, over the limit of {limits.MAX_LABELS}")]
    found: list[Violation] = []
    for key, value in sorted(spec.labels.items()):
        if not limits.LABEL_KEY.fullmatch(key):
            allowed = f"must be 1 to {limits.MAX_LABEL_KEY_CHARS} of A-Z, a-z, 0-9, '.', '_', '/' and '-'"
            found.append(Violation("labels", f"the key {key[:80]!r} {allowed}, starting with a letter or digit"))
        elif key.startswith(limits.RESERVED_LABEL_PREFIX):
            found.append(
                Violation(f"labels.{key}", f"{limits.RESERVED_LABEL_PREFIX}* is set by Waybill; choose another")
            )
        elif len(value) > limits.MAX_LABEL_VALUE_CHARS:
            limit = f"over the limit of {limits.MAX_LABEL_VALUE_CHARS}"
            found.append(Violation(f"labels.{key}", f"has {len(value)} characters, {limit}"))
    return found
