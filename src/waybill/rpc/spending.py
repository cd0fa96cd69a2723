"""Model calls, usage, tenants' budgets and limits as JSON, by the rules of `waybill.rpc.resources`."""

from __future__ import annotations

import json
from typing import Any

from waybill.api.v1 import task_pb2
from waybill.rpc.enums import CALL_STATE_FROM_PROTO
from waybill.rpc.events import usage_to_json
from waybill.rpc.payloads import Inline, payload_to_json

LIMIT_NUMBERS = ("max_concurrency", "requests_per_minute", "tokens_per_minute")
LEARNED_NUMBERS = ("learned_concurrency", "learned_requests_per_minute", "learned_tokens_per_minute")
BUDGET_NUMBERS = (
    "max_total_microusd",
    "max_day_microusd",
    "spent_total_microusd",
    "spent_day_microusd",
    "reserved_microusd",
)


def call_to_json(call: task_pb2.ModelCall, inline: Inline = json.loads) -> dict[str, Any]:
    """A model call as JSON; prompt and response only where they are kept."""
    state = CALL_STATE_FROM_PROTO.get(call.state)
    shown: dict[str, Any] = {
        "step": call.step,
        "attempt": call.attempt,
        "call": call.call,
        "model": call.model,
        "endpoint": call.endpoint,
        "state": state.value if state is not None else "unknown",
        "usage": usage_to_json(call.usage),
    }
    for name in ("prompt", "response"):
        if call.HasField(name):
            shown[name] = payload_to_json(getattr(call, name), inline)
    for name in ("start_time", "end_time"):
        if call.HasField(name):  # type: ignore[arg-type]
            shown[name] = getattr(call, name).ToJsonString()
    return shown


def usage_row_to_json(row: task_pb2.UsageRow) -> dict[str, Any]:
    """A row of usage as JSON: the day or the step only where it has one."""
    shown: dict[str, Any] = {name: getattr(row, name) for name in ("day", "step") if getattr(row, name)}
    return {**shown, "agent": row.agent, "model": row.model, "usage": usage_to_json(row.usage), "calls": row.calls}


def tenant_budget_to_json(budget: task_pb2.TenantBudget) -> dict[str, Any]:
    """A tenant's budget as JSON, every number shown."""
    return {name: getattr(budget, name) for name in BUDGET_NUMBERS}


def limit_to_json(limit: task_pb2.Limit) -> dict[str, Any]:
    """A limit as JSON, every number shown."""
    numbers = (*LIMIT_NUMBERS, "held", "waiting", *LEARNED_NUMBERS)
    shown: dict[str, Any] = {"name": limit.name, **{name: getattr(limit, name) for name in numbers}}
    if limit.HasField("blocked_until"):
        shown["blocked_until"] = limit.blocked_until.ToJsonString()
    return shown
