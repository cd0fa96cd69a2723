"""A model that answers from a script, for tests of agents: no network, the same answers each time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from pydantic_core import to_json

from waybill.chat import ChatRequest, Reply, ToolCall
from waybill.core.task import Usage

Answer = Any
"""A text; a `Reply`; a list of `ToolCall`; an exception to raise; or any other value, which is answered as JSON."""


class ScriptedModel:
    """Gives one answer of the script to each request, or what `script` returns where that is a function of the request.

    `requests` keeps what was asked. A word counts as one token; nothing costs money.
    """

    def __init__(self, script: Iterable[Answer] | Callable[[ChatRequest], Answer], *, name: str = "scripted") -> None:
        self.name = name
        self.requests: list[ChatRequest] = []
        self._answer = script if callable(script) else _one_by_one(list(script))
        self._lock = threading.Lock()

    def answer(self, request: ChatRequest) -> Reply:
        """The reply to a request. Raises AssertionError past the end of the script, and what the script says."""
        with self._lock:
            self.requests.append(request)
            answer = self._answer(request)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Reply):
            return answer
        calls = tuple(answer) if _is_calls(answer) else ()
        text = "" if calls else answer if isinstance(answer, str) else to_json(answer).decode()
        asked = sum(len(message.content.split()) for message in request.messages)
        told = len(text.split()) + sum(len(call.arguments.split()) for call in calls)
        return Reply(text, calls, self.name, Usage(asked, told), "tool_calls" if calls else "stop")


def _is_calls(answer: Answer) -> bool:
    return isinstance(answer, list | tuple) and bool(answer) and all(isinstance(call, ToolCall) for call in answer)


def _one_by_one(answers: list[Answer]) -> Callable[[ChatRequest], Answer]:
    rest = iter(answers)

    def following(_: ChatRequest) -> Answer:
        for answer in rest:
            return answer
        raise AssertionError(f"the model was asked more often than its script of {len(answers)} answers says")

    return following
