"""The course of `Context.chat`: what is asked is checked, and an answer that does not fit goes back to the model.

One generator says what happens in which order; it runs where the agent runs, so that the agent's own types check the
answer. Whoever speaks to the model hands in how a request is sent.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from waybill.chat import ChatRequest, Message, Reply, Tool, conversation
from waybill.core.limits import MIB
from waybill.core.task import Usage
from waybill.errors import AgentError, Permanent
from waybill.models.output import Form, Misfit

MAX_REPAIRS = 2
"""How often an answer that does not fit goes back to the model."""
MAX_CONVERSATION_BYTES = 8 * MIB
MAX_TOOLS = 128

_Steps = Generator[Future[Reply], Reply, Reply]


class Chat:
    """Implements `Context.chat` on top of `send`, which gives the future reply to one request from any thread."""

    def __init__(self, send: Callable[[ChatRequest], Future[Reply]]) -> None:
        self._send = send

    def __call__(
        self,
        messages: str | Sequence[Message],
        *,
        system: str = "",
        model: str = "",
        output: Any = None,
        tools: Sequence[Tool] = (),
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        stream: bool = False,
    ) -> Any:
        """See `Context.chat`."""
        form = None if output is None else Form.of(output)
        request = ChatRequest(
            messages=conversation(messages, system),
            model=model,
            schema=form.schema if form else b"",
            strict=form.strict if form else False,
            tools=tuple(tools),
            max_output_tokens=max_output_tokens,
            temperature=temperature,
            stream=stream,
        )
        check(request)
        steps = self._converse(request, form)
        return _on_loop(steps) if _loop_runs() else _blocking(steps)

    def _converse(self, request: ChatRequest, form: Form | None) -> _Steps:
        usage = Usage()
        for repairs in range(MAX_REPAIRS + 1):
            reply = yield self._send(request)
            usage += reply.usage
            if form is None or reply.tool_calls:
                return msgspec.structs.replace(reply, usage=usage)
            try:
                return msgspec.structs.replace(reply, usage=usage, value=form.read(reply.text))
            except Misfit as misfit:
                problem = str(misfit)
                if repairs == MAX_REPAIRS:
                    break
            complaint = f"Your answer does not fit what was asked for: {problem}\nAnswer again, with the JSON alone."
            request = msgspec.structs.replace(
                request, messages=(*request.messages, reply.message, Message("user", complaint))
            )
        raise AgentError(
            f"the model's answer does not fit after {MAX_REPAIRS} repairs: {problem}", reason="OUTPUT_INVALID"
        )


def check(request: ChatRequest) -> None:
    """Raises Permanent (CHAT_INVALID) that names what is wrong with a request."""
    if not request.messages:
        raise _invalid("messages: there are none")
    for at, message in enumerate(request.messages):
        if message.role not in ("system", "user", "assistant", "tool"):
            raise _invalid(f"messages[{at}].role: must be system, user, assistant or tool")
        if message.role == "tool" and not message.tool_call_id:
            raise _invalid(f"messages[{at}].tool_call_id: a tool message names the call that it answers")
    size = sum(len(message.content.encode("utf-8", "replace")) for message in request.messages)
    if size > MAX_CONVERSATION_BYTES:
        raise _invalid(f"messages: are {size} bytes; the limit is {MAX_CONVERSATION_BYTES}")
    if len(request.tools) > MAX_TOOLS or len({tool.name for tool in request.tools}) < len(request.tools):
        raise _invalid(f"tools: at most {MAX_TOOLS}, each with a name of its own")
    limit = request.max_output_tokens
    if limit is not None and not 1 <= limit <= 1_000_000:
        raise _invalid("max_output_tokens: must lie between 1 and 1000000")
    warmth = request.temperature
    if warmth is not None and not (math.isfinite(warmth) and 0 <= warmth <= 2):
        raise _invalid("temperature: must lie between 0 and 2")
    if request.stream and request.schema:
        raise _invalid("stream: an answer with an output is checked before it is used, so it cannot be streamed")


def _invalid(problem: str) -> Permanent:
    return Permanent(f"chat: {problem}", reason="CHAT_INVALID")


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _on_loop(steps: _Steps) -> Reply:
    try:
        sent = next(steps)
        while True:
            reply = await asyncio.wrap_future(sent)
            sent = steps.send(reply)
    except StopIteration as end:
        last: Reply = end.value
        return last


def _blocking(steps: _Steps) -> Reply:
    try:
        sent = next(steps)
        while True:
            sent = steps.send(sent.result())
    except StopIteration as end:
        reply: Reply = end.value
        return reply
