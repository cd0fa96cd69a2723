"""An answer that comes in chunks, put together: text, tool calls whose arguments come in pieces, and the account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from waybill.chat import ToolCall
from waybill.core.limits import MIB
from waybill.core.task import Usage

MAX_ANSWER_CHARS = 8 * MIB
MAX_TOOL_CALLS = 128
_MOST_TOKENS = 10**12


class Malformed(Exception):
    """A chunk that is none; the message says why."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallPiece(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallPiece] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Reasoning(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Account(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Reasoning | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Account | None = None


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


class Joined:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self.finish_reason = ""
        self.usage: Usage | None = None
        """The provider's account, in tokens; None until it comes."""
        self.refusal = ""
        self._texts: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._chars = 0

    @property
    def text(self) -> str:
        """All text."""
        return "".join(self._texts)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls; one without an id gets its position as one."""
        return tuple(
            ToolCall(call.id or f"call_{index}", call.name, call.arguments)
            for index, call in sorted(self._calls.items())
        )

    def add(self, chunk: object) -> str:
        """Add one chunk, as decoded from JSON; the text that it brings. Raises Malformed."""
        try:
            read = msgspec.convert(chunk, _Chunk)
        except (msgspec.ValidationError, RecursionError) as error:
            raise Malformed(str(error)) from error
        if read.usage is not None:
            self.usage = _usage(read.usage)
        text = ""
        for choice in (read.choices or [])[:1]:
            text += self._take(choice.delta or _Delta())
            self.finish_reason = choice.finish_reason or self.finish_reason
        return text

    def _take(self, delta: _Delta) -> str:
        for piece in delta.tool_calls or ():
            self._call(piece)
        self.refusal += delta.refusal or ""
        text = delta.content or ""
        self._grow(len(text) + len(delta.refusal or ""))
        if text:
            self._texts.append(text)
        return text

    def _call(self, piece: _CallPiece) -> None:
        # Some servers send calls whole and without an index: an id that is new begins another call.
        index = piece.index
        if index is None:
            last = max(self._calls, default=0)
            known = self._calls.get(last)
            index = last if known is None or not piece.id or known.id == piece.id else last + 1
        if not 0 <= index < MAX_TOOL_CALLS:
            raise Malformed(f"tool call {index}; at most {MAX_TOOL_CALLS} are taken")
        call = self._calls.setdefault(index, _Call())
        call.id = call.id or piece.id or ""
        if piece.function is not None:
            call.name = call.name or piece.function.name or ""
            call.arguments += piece.function.arguments or ""
            self._grow(len(piece.function.arguments or ""))

    def _grow(self, chars: int) -> None:
        self._chars += chars
        if self._chars > MAX_ANSWER_CHARS:
            raise Malformed(f"the answer has more than {MAX_ANSWER_CHARS} characters")


def _usage(account: _Account) -> Usage:
    cached = account.prompt_tokens_details.cached_tokens if account.prompt_tokens_details else 0
    details = account.completion_tokens_details
    reasoning = details.reasoning_tokens if details else 0
    counts = (account.prompt_tokens, account.completion_tokens, cached or 0, reasoning or 0)
    if not all(0 <= count <= _MOST_TOKENS for count in counts):
        raise Malformed("the account has impossible numbers of tokens")
    prompt, completion, cached, reasoning = counts
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cached_input_tokens=min(cached, prompt),
        reasoning_tokens=min(reasoning, completion),
    )


def decoded(chunk: Any) -> object:
    """A chunk of the openai library as plain values."""
    # Without its warnings, which would repeat what came.
    return chunk.model_dump(exclude_unset=True, warnings=False) if hasattr(chunk, "model_dump") else chunk
