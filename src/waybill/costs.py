"""What `waybill.Client` tells of money and limits: usage, model calls, tenants' budgets and limits, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.core.task import CallState, Usage
from waybill.resources import time_of
from waybill.rpc import conversion
from waybill.rpc.enums import CALL_STATE_FROM_PROTO


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What was used: of a task by step, agent and model, of a tenant by day (as "2026-11-24"), agent and model.

    `model` is empty for what agents reported by themselves, `agent` is "planner" for what planning used.
    """

    day: str
    step: str
    agent: str
    model: str
    usage: Usage
    calls: int

    @classmethod
    def of(cls, message: task_pb2.UsageRow) -> UsageRow:
        """The row of a message."""
        usage = conversion.usage_from_proto(message.usage)
        return cls(message.day, message.step, message.agent, message.model, usage, message.calls)


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Rows of usage, and their sum."""

    total: Usage
    rows: Sequence[UsageRow]

    @classmethod
    def of(cls, message: gateway_pb2.GetUsageResponse) -> UsageReport:
        """The report of a message."""
        return cls(conversion.usage_from_proto(message.total), tuple(UsageRow.of(row) for row in message.rows))


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model. `step` is the step's resource name; the task's, for a call of the planner.

    `usage` is an upper estimate unless the call is SETTLED. `prompt` and `response`, decoded, are set for calls of one
    step where the operator keeps them; one that was cut to its limit is text.
    """

    step: str
    attempt: int
    call: int
    model: str
    endpoint: str
    state: CallState
    usage: Usage
    start_time: datetime | None
    end_time: datetime | None
    prompt: Any = None
    response: Any = None

    @classmethod
    def of(cls, message: task_pb2.ModelCall) -> ModelCall:
        """The call of a message."""
        return cls(
            step=message.step,
            attempt=message.attempt,
            call=message.call,
            model=message.model,
            endpoint=message.endpoint,
            state=CALL_STATE_FROM_PROTO[message.state],
            usage=conversion.usage_from_proto(message.usage),
            start_time=time_of(message, "start_time"),
            end_time=time_of(message, "end_time"),
            prompt=_kept(message.prompt),
            response=_kept(message.response),
        )


@dataclass(frozen=True, slots=True)
class TenantBudget:
    """What a tenant may spend on models, 0 for no limit, and what it has; in millionths of a US dollar."""

    max_total_microusd: int
    max_day_microusd: int
    spent_total_microusd: int
    spent_day_microusd: int
    reserved_microusd: int

    @classmethod
    def of(cls, message: task_pb2.TenantBudget) -> TenantBudget:
        """The budget of a message."""
        return cls(**conversion.tenant_budget_to_json(message))


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on what may run at once or start in a minute, over all tenants; numbers are 0 for no limit.

    What was learned of a provider is 0 unless it is less than what was set. `held` permits are in use, and `waiting`
    steps and calls stand in line.
    """

    name: str
    max_concurrency: int
    requests_per_minute: int
    tokens_per_minute: int
    held: int
    waiting: int
    blocked_until: datetime | None
    learned_concurrency: int
    learned_requests_per_minute: int
    learned_tokens_per_minute: int

    @property
    def id(self) -> str:
        """The name without its collection, such as "agent:writer"."""
        return self.name.removeprefix("limits/")

    @classmethod
    def of(cls, message: task_pb2.Limit) -> Limit:
        """The limit of a message."""
        numbers = conversion.limit_to_json(message)
        return cls(**{**numbers, "blocked_until": time_of(message, "blocked_until")})


def _kept(payload: task_pb2.Payload) -> Any:
    if payload.media_type == "text/plain":
        return payload.data.decode(errors="replace")
    return conversion.payload_to_json(payload)
