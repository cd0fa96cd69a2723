"""What is said to a model and what it answers: the types of `Context.chat`. They cross processes as msgpack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from waybill.core.task import Usage

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(msgspec.Struct, frozen=True):
    """The model wants a tool called. `arguments` is JSON text as the model wrote it: it may not fit, or not be JSON."""

    id: str
    name: str
    arguments: str


class Tool(msgspec.Struct, frozen=True):
    """A tool that the model may ask for. `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation. A "tool" message answers the call `tool_call_id` of the assistant before it."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


class Reply(msgspec.Struct, frozen=True):
    """What the model answered. `value` is the checked output where one was asked for, `model` the provider's name of
    the model that answered, and `usage` what the provider counted for this reply, repeated calls included.
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    model: str
    usage: Usage
    finish_reason: str
    value: Any = None

    @property
    def message(self) -> Message:
        """The reply as a message, to go on with."""
        return Message("assistant", self.text, self.tool_calls)


class ChatRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question to a model, checked. `model` is a name of the operator's, empty for the agent's own; `schema` is the
    JSON Schema that the text of the answer has to fit, as JSON text, empty for any text.
    """

    messages: tuple[Message, ...]
    model: str = ""
    schema: bytes = b""
    strict: bool = False
    """Whether the schema keeps to what providers can enforce."""
    tools: tuple[Tool, ...] = ()
    max_output_tokens: int | None = None
    temperature: float | None = None
    stream: bool = False


def conversation(messages: str | Sequence[Message], system: str) -> tuple[Message, ...]:
    """The messages of a request: a text is one user message, and `system` comes before all."""
    said = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
    return (Message("system", system), *said) if system else said
