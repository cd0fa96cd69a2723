"""What the server of models in `model_server` answers: behaviours, rules that choose them, and the account of each."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

PER_MESSAGE = 4
"""Tokens that every message costs besides its text."""
FAULTS = ("429", "500", "connect", "disconnect", "malformed", "slow", "no_usage", "cut", "refuse")


def tokens_of(text: str) -> int:
    """The tokens of a text, as this server counts."""
    return -(-len(text.encode()) // 4)


@dataclass(frozen=True)
class Behaviour:
    """What one request gets. Seconds are waits; `fault` is what goes wrong, after `after_chunks` chunks of the answer:

    connect: the connection ends before any answer; disconnect: in the middle of one; malformed: a chunk that is not
    JSON; odd: a chunk that is JSON but none of the protocol's; error_event: an error in the stream; no_usage: the
    answer is whole but not accounted; no_done: it ends after its usage, without the last line; html: a page instead of
    a stream; stall: nothing more comes.
    """

    text: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    """Name and arguments (JSON text) of each tool that the model calls."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    after_chunks: int = 1
    first_token_seconds: float = 0.0
    chunk_seconds: float = 0.0
    chunk_chars: int = 8
    finish_reason: str = ""
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    refusal: str = ""


def busy(retry_after: str = "0", **headers: str) -> Behaviour:
    """Too many requests."""
    error = {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}
    return Behaviour(status=429, headers={"retry-after": retry_after, **headers}, error=error)


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def call(self) -> str:
        """Which call it says it is: task/step number/attempt/call."""
        return self.headers.get("x-waybill-call", "")

    @property
    def prompt_tokens(self) -> int:
        """What its messages, tools and schema come to."""
        texts = [message.get("content") or "" for message in self.body["messages"]]
        texts += [json.dumps(call) for message in self.body["messages"] for call in message.get("tool_calls") or ()]
        texts += [json.dumps(tool) for tool in self.body.get("tools") or ()]
        schema = self.schema
        texts += [json.dumps(schema)] if schema is not None else []
        return PER_MESSAGE * len(self.body["messages"]) + sum(map(tokens_of, texts))

    @property
    def max_tokens(self) -> int | None:
        """Most that the answer may have."""
        return self.body.get("max_completion_tokens") or self.body.get("max_tokens")

    @property
    def schema(self) -> Any:
        """The schema that the answer has to fit; None for any text."""
        asked = self.body.get("response_format") or {}
        return asked["json_schema"]["schema"] if asked.get("type") == "json_schema" else None

    @property
    def last(self) -> str:
        """The text of the last message."""
        return str(self.body["messages"][-1].get("content") or "")


@dataclass(frozen=True)
class Billed:
    """One call that costs money; `complete` if its answer came to its end."""

    call: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    complete: bool = True


def instance_of(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A value that fits a simple JSON Schema; lists are empty once they are deep."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return None

    def inside(part: Any) -> Any:
        return instance_of(part, root, depth + 1)

    if "$ref" in schema:
        found = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return inside(found)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return inside(schema[union][0])
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: inside(properties.get(name, {"type": "string"})) for name in schema.get("required", properties)}
    if kind == "array":
        count = schema.get("minItems", 0 if depth > 6 else 1)
        return [inside(schema.get("items", {})) for _ in range(count)]
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    if kind == "string":
        return "text".ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
    return {"boolean": True, "null": None}.get(kind)


def obliging(request: Request) -> Behaviour:
    """The default rule: each tool that is offered is called once, a schema is filled, and a text is echoed."""
    answered = sum(message["role"] == "tool" for message in request.body["messages"])
    tools = request.body.get("tools") or ()
    if answered < len(tools):
        tool = tools[answered]["function"]
        return Behaviour(tool_calls=((tool["name"], json.dumps(instance_of(tool.get("parameters", {})))),))
    if request.schema is not None:
        return Behaviour(text=json.dumps(instance_of(request.schema)))
    return Behaviour(text=f"You said: {request.last[-400:]}")


class Random:
    """A rule that puts faults into the answers of another rule, by chance but the same for the same seed."""

    def __init__(self, seed: int, faults: Mapping[str, float], rule: Callable[[Request], Behaviour] = obliging) -> None:
        self._random = random.Random(seed)
        self._faults = dict(faults)
        self._rule = rule

    def __call__(self, request: Request) -> Behaviour:
        """What the request gets."""
        draw = self._random.random()
        for fault, share in self._faults.items():
            if draw < share:
                return self._faulty(fault, self._rule(request))
            draw -= share
        return self._rule(request)

    def _faulty(self, fault: str, answer: Behaviour) -> Behaviour:
        chunks, known = self._random.randrange(4), asdict(answer)
        if fault == "429":
            return busy("0")
        if fault == "500":
            return Behaviour(status=self._random.choice([500, 502, 503, 529]), error={"message": "overloaded"})
        if fault == "refuse":
            return Behaviour(status=400, error={"message": "no", "code": "invalid_prompt"})
        if fault == "slow":
            return Behaviour(**{**known, "first_token_seconds": 0.2, "chunk_seconds": 0.02})
        if fault == "cut":
            return Behaviour(**{**known, "finish_reason": "length"})
        return Behaviour(**{**known, "fault": fault, "after_chunks": chunks})


def behaviour_of(item: Mapping[str, Any]) -> Behaviour:
    """The behaviour that a JSON object describes."""
    known = {part.name for part in fields(Behaviour)}
    assert item.keys() <= known, f"behaviours have {sorted(known)}, not {sorted(item.keys() - known)}"
    values = dict(item)
    values["tool_calls"] = tuple((name, arguments) for name, arguments in item.get("tool_calls", ()))
    return Behaviour(**values)


class Told:
    """One answer, and how much of it was told."""

    def __init__(self, request: Request, behaviour: Behaviour) -> None:
        self.request = request
        self.behaviour = behaviour
        self.complete = False
        self.booked = False
        self.count = 0
        limit = request.max_tokens
        room = sys.maxsize if limit is None else max(0, limit - behaviour.reasoning_tokens) * 4
        self.text = behaviour.text.encode()[:room].decode("utf-8", "ignore")
        self.cut = self.text != behaviour.text
        self._bytes = 0

    def frame(self) -> dict[str, Any]:
        """What every chunk has."""
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": self.request.body["model"],
        }

    def pieces(self) -> Iterator[dict[str, Any]]:
        """The chunks of the answer."""
        yield self._piece({"role": "assistant", "content": ""})
        if self.behaviour.refusal:
            yield self._piece({"refusal": self.behaviour.refusal})
        size = max(1, self.behaviour.chunk_chars)
        for start in range(0, len(self.text), size):
            part = self.text[start : start + size]
            self._bytes += len(part.encode())
            yield self._piece({"content": part})
        for index, (name, arguments) in enumerate(self.behaviour.tool_calls):
            named = {
                "index": index,
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            yield self._piece({"tool_calls": [named]})
            self._bytes += len(name.encode())
            for start in range(0, len(arguments), size):
                part = arguments[start : start + size]
                self._bytes += len(part.encode())
                yield self._piece({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
        yield self._piece({}, self.finish_reason)

    @property
    def finish_reason(self) -> str:
        """Why it ends."""
        usual = "length" if self.cut else "tool_calls" if self.behaviour.tool_calls else "stop"
        return self.behaviour.finish_reason or usual

    def _piece(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        self.count += 1
        return {**self.frame(), "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish_reason}]}

    def whole(self) -> dict[str, Any]:
        """The answer as one object."""
        list(self.pieces())
        self.complete = True
        calls = [
            {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(self.behaviour.tool_calls)
        ]
        message = {"role": "assistant", "content": self.text, **({"tool_calls": calls} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return {**self.frame(), "object": "chat.completion", "choices": [choice], "usage": self.usage()}

    @property
    def completion_tokens(self) -> int:
        """What was told so far, and thought before."""
        return self.behaviour.reasoning_tokens + -(-self._bytes // 4)

    def usage(self) -> dict[str, Any]:
        """The account of it, as the protocol has it."""
        prompt, completion = self.request.prompt_tokens, self.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": min(prompt, self.behaviour.cached_tokens)},
            "completion_tokens_details": {"reasoning_tokens": self.behaviour.reasoning_tokens},
        }

    def billed(self) -> Billed:
        """The account of it, as the bill has it."""
        prompt, behaviour = self.request.prompt_tokens, self.behaviour
        return Billed(
            call=self.request.call,
            model=self.request.body["model"],
            prompt_tokens=prompt,
            completion_tokens=self.completion_tokens,
            cached_tokens=min(prompt, behaviour.cached_tokens),
            reasoning_tokens=behaviour.reasoning_tokens,
            complete=self.complete,
        )
