"""The bodies of HTTP requests that steer, and the header `Idempotency-Key`, which names a request as `request_id` does.

Bodies are strict: a field that is not known is refused.
"""

from __future__ import annotations

from typing import Annotated, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import UNSET, Meta, Raw, UnsetType, field

from waybill.api.v1 import task_pb2
from waybill.core.limits import MAX_BUDGET_MICROUSD, MAX_LIMIT, MAX_TOKENS_PER_MINUTE
from waybill.core.task import EffectState, TaskState
from waybill.errors import InvalidArgument
from waybill.rpc.enums import EFFECT_STATE_TO_PROTO, TASK_STATE_TO_PROTO
from waybill.rpc.payloads import json_payload
from waybill.rpc.strict import Strict, read_json

IDEMPOTENCY_KEY = "idempotency-key"


class Action(Strict):
    """The body of a call that takes nothing but an id under which it may be repeated."""

    request_id: str = ""


class Named(Protocol):
    """A body that names the request."""

    request_id: str


class Filter(Strict):
    """Which tasks are meant, as `TaskFilter`."""

    states: list[TaskState] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    agent: str = ""
    template: str = ""
    create_time_from: str | None = None
    create_time_until: str | None = None

    def message(self) -> task_pb2.TaskFilter:
        """The filter as a message. Raises `InvalidArgument` for a text that is no time."""
        return task_pb2.TaskFilter(
            states=[TASK_STATE_TO_PROTO[state] for state in self.states],
            labels=self.labels,
            agent=self.agent,
            template=self.template,
            create_time_from=time_of("filter.create_time_from", self.create_time_from),
            create_time_until=time_of("filter.create_time_until", self.create_time_until),
        )


class Retrying(Action):
    """The body of `POST /v1/tasks:retry`."""

    filter: Filter = field(default_factory=Filter)
    page_size: int = 0
    page_token: str = ""


class Answer(Action):
    """The body of an answer: any JSON value."""

    answer: Raw | UnsetType = UNSET

    def payload(self) -> task_pb2.Payload | None:
        """The answer as a payload, if there is one."""
        return json_payload(bytes(self.answer)) if isinstance(self.answer, Raw) else None


class Decision(Action, kw_only=True):
    """The body that decides an effect."""

    key: str
    state: EffectState
    result: Raw | UnsetType = UNSET

    @property
    def state_number(self) -> task_pb2.EffectState.ValueType:
        """The state as in the contract."""
        return EFFECT_STATE_TO_PROTO[self.state]

    def payload(self) -> task_pb2.Payload | None:
        """The result as a payload, if there is one."""
        return json_payload(bytes(self.result)) if isinstance(self.result, Raw) else None


class BudgetSetting(Action):
    """The body that sets what a tenant may spend; 0 is no limit."""

    max_total_microusd: Annotated[int, Meta(ge=0, le=MAX_BUDGET_MICROUSD)] = 0
    max_day_microusd: Annotated[int, Meta(ge=0, le=MAX_BUDGET_MICROUSD)] = 0


class LimitSetting(Action):
    """The body that sets a limit; 0 is no limit, and one that limits nothing is removed."""

    max_concurrency: Annotated[int, Meta(ge=0, le=MAX_LIMIT)] = 0
    requests_per_minute: Annotated[int, Meta(ge=0, le=MAX_LIMIT)] = 0
    tokens_per_minute: Annotated[int, Meta(ge=0, le=MAX_TOKENS_PER_MINUTE)] = 0


_Body = TypeVar("_Body")


def read_action(body: bytes, form: type[_Body]) -> _Body:
    """The form of a body; an empty body is an empty form. Raises `InvalidArgument` with the field that does not fit."""
    return read_json(body.strip() or b"{}", form)


def chosen_request_id(given: str, keys: list[str]) -> str:
    """The id that a body and the header's values name, empty if none does. Raises `InvalidArgument` if they differ."""
    named = {name for name in (given, *keys) if name}
    if len(named) > 1:
        described = "names another request than request_id, or than itself; send one of them"
        raise InvalidArgument.of_field("Idempotency-Key", described)
    return named.pop() if named else ""


def time_of(parameter: str, text: str | None) -> Timestamp | None:
    """The time that an RFC 3339 text names. Raises `InvalidArgument` for a text that is none."""
    if text is None:
        return None
    time = Timestamp()
    try:
        time.FromJsonString(text)
    except (ValueError, OverflowError):
        raise InvalidArgument.of_field(parameter, 'must be a time such as "2026-11-24T09:30:00Z"') from None
    return time
