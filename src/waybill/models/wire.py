"""A request as Chat Completions wants it, and without what a certain server has refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from waybill.chat import ChatRequest, Message
from waybill.models.config import Model


@dataclass(frozen=True, slots=True)
class Features:
    """What a server takes. It is asked with all of them until it refuses one."""

    schemas: bool = True
    strict: bool = True
    usage_in_stream: bool = True
    max_completion_tokens: bool = True
    temperature: bool = True

    def without(self, said: str, body: dict[str, Any]) -> Features | None:
        """What is left after a refusal that says `said`; None if that names nothing that could be left out."""
        said = said.lower()
        if "response_format" in body and re.search(r"response_format|json_schema|structured output|strict", said):
            return replace(self, strict=False) if body["response_format"]["json_schema"]["strict"] else self._plain()
        if "stream_options" in body and re.search(r"stream_options|include_usage", said):
            return replace(self, usage_in_stream=False)
        if "max_completion_tokens" in body and "max_completion_tokens" in said:
            return replace(self, max_completion_tokens=False)
        if "temperature" in body and "temperature" in said:
            return replace(self, temperature=False)
        return None

    def _plain(self) -> Features:
        return replace(self, schemas=False)


def body_of(request: ChatRequest, model: Model, features: Features) -> dict[str, Any]:
    """The body of the request for a model."""
    messages = request.messages
    if request.schema and not features.schemas:
        messages = _with_instruction(messages, request.schema)
    body: dict[str, Any] = {
        "model": model.model,
        "messages": [_message(message) for message in messages],
        "stream": True,
    }
    limit = output_limit(request, model)
    body["max_completion_tokens" if features.max_completion_tokens else "max_tokens"] = limit
    if features.usage_in_stream:
        body["stream_options"] = {"include_usage": True}
    if request.temperature is not None and features.temperature:
        body["temperature"] = request.temperature
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in request.tools
        ]
    if request.schema and features.schemas:
        strict = request.strict and features.strict
        schema = msgspec.json.decode(request.schema)
        form = {"name": "answer", "strict": strict, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


def output_limit(request: ChatRequest, model: Model) -> int:
    """Most tokens that the answer may have."""
    return min(request.max_output_tokens or model.max_output_tokens, model.max_output_tokens)


def _with_instruction(messages: tuple[Message, ...], schema: bytes) -> tuple[Message, ...]:
    instruction = (
        "Answer with one JSON value and nothing else: no explanation, no code fence. It must fit this JSON Schema:\n"
        + schema.decode()
    )
    first = messages[0]
    if first.role == "system":
        return (Message("system", f"{first.content}\n\n{instruction}"), *messages[1:])
    return (Message("system", instruction), *messages)


def _message(message: Message) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": clean(message.content)}
    if message.role == "tool":
        written["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": clean(call.arguments)},
            }
            for call in message.tool_calls
        ]
        if not message.content:
            written["content"] = None
    return written


def clean(text: str) -> str:
    """The text with lone surrogates replaced, so that it can be written as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
