"""The think-act loop: the model thinks, its calls are made, it learns what became of them, until it answers.

Every reply of the model is recorded, so that a repeated attempt goes the same way up to where the earlier one ended,
and meets the same calls under the same keys.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from waybill import NOT_DONE, Context, Message, Reply, ToolCall
from waybill.errors import Permanent
from waybill_worker.agents import tools_prompt
from waybill_worker.agents.tools import FinishReason, ToolRun, ToolUse
from waybill_worker.agents.tools_call import Caller, Made
from waybill_worker.agents.tools_catalog import Catalog
from waybill_worker.agents.tools_result import cut

MAX_CALLS = 100
"""Most tool calls of one step, refused ones included."""
MAX_CONVERSATION_CHARS = 1024 * 1024
"""Most characters of results that a conversation takes in."""
MAX_SHOWN_ARGUMENTS_CHARS = 16 * 1024
_RESERVED_SHARE = 0.2
_RESERVED_SECONDS = (5.0, 60.0)
"""What of an attempt's time is kept for the final answer: a share of it, within these bounds."""
_WHY: Mapping[FinishReason, str] = {
    "max_turns": "you have had all your turns",
    "max_calls": "you have made all your calls",
    "deadline": "the time is nearly over",
}


@dataclass
class Loop:
    """One attempt's way through the conversation."""

    ctx: Context
    caller: Caller
    catalog: Catalog
    messages: list[Message]
    max_turns: int
    model: str = ""
    output: dict[str, Any] | None = None
    _uses: list[ToolUse] = field(default_factory=list)
    _taken_in_chars: int = 0
    _last_moment: float = 0.0

    async def run(self) -> ToolRun:
        """Go through it. Raises Permanent (TOOL_LOOP_UNFINISHED) if the model does not come to an answer."""
        self._last_moment = _last_moment(self.ctx.deadline)
        for turn in range(1, self.max_turns + 1):
            if bound := self._bound():
                return await self._finish(turn, bound)
            reply = await self._turn(f"turn:{turn}", final=False)
            if not reply.tool_calls:
                return self._run(reply, turn, "answered")
            await self._act(turn, reply)
        return await self._finish(self.max_turns + 1, self._bound() or "max_turns")

    def _bound(self) -> FinishReason | None:
        if len(self._uses) >= MAX_CALLS:
            return "max_calls"
        return "deadline" if self._late() else None

    def _late(self) -> bool:
        return time.time() >= self._last_moment

    async def _turn(self, key: str, *, final: bool) -> Reply:
        """One reply of the model. To ask it again costs money and does no harm, so doubt is no obstacle."""
        asked = False

        async def ask() -> Any:
            nonlocal asked
            asked = True
            reply = await self.ctx.chat(
                self.messages,
                model=self.model,
                output=self.output,
                tools=() if final else self.catalog.for_model(),
                stream=self.output is None,
            )
            if final and (reply.tool_calls or (self.output is None and not reply.text.strip())):
                raise self._unfinished()  # and nothing is recorded: an attempt that is asked for may find an answer
            return msgspec.to_builtins(msgspec.structs.replace(reply, tool_calls=_numbered(key, reply.tool_calls)))

        reply = msgspec.convert(await self.ctx.once(key, ask, reconcile=lambda _: NOT_DONE), Reply)
        if not asked and self.output is None and reply.text:
            self.ctx.text(reply.text)  # what the earlier attempt streamed is void
        return reply

    async def _act(self, turn: int, reply: Reply) -> None:
        self.messages.append(Message("assistant", reply.text, reply.tool_calls))
        for index, call in enumerate(reply.tool_calls, 1):
            if len(self._uses) >= MAX_CALLS or self._late():
                self._tell(call.id, call.name, "not called: no more calls can be made")
                continue
            made = await self.caller.make(turn, index, call)
            self._note(turn, call, made)
            self._tell(call.id, made.tool.label if made.tool else "tools", made.outcome.text)

    def _tell(self, call_id: str, label: str, text: str) -> None:
        """Let the model know, as far as there is room."""
        text = cut(text, max(0, MAX_CONVERSATION_CHARS - self._taken_in_chars))
        self._taken_in_chars += len(text)
        self.messages.append(tools_prompt.result(call_id, label, text, self.ctx.idempotency_key))

    def _note(self, turn: int, call: ToolCall, made: Made) -> None:
        shown = made.arguments if len(call.arguments) <= MAX_SHOWN_ARGUMENTS_CHARS else None
        if made.tool is None:
            use = ToolUse(turn=turn, server="", tool=call.name[:100], arguments=shown, failed=True, refused=True)
        else:
            use = ToolUse(
                turn=turn,
                server=made.tool.server,
                tool=made.tool.name,
                arguments=shown,
                failed=made.outcome.failed,
                refused=made.refused,
            )
        self._uses.append(use)
        if made.outcome.failed and not made.refused:
            self.ctx.progress(f"{use.server}/{use.tool} failed"[:500])

    async def _finish(self, turn: int, bound: FinishReason) -> ToolRun:
        self.messages.append(tools_prompt.last_words(_WHY[bound]))
        # A key of its own: what ended this attempt, its time for one, need not end the next one here.
        return self._run(await self._turn(f"final:{turn}", final=True), turn, bound)

    def _unfinished(self) -> Permanent:
        return Permanent(
            f"the model came to no answer within its bounds (at most {self.max_turns} turns and {MAX_CALLS} calls, of "
            f"which it made {len(self._uses)}, and the step's time): give it more, or a smaller goal",
            reason="TOOL_LOOP_UNFINISHED",
        )

    def _run(self, reply: Reply, turns: int, finish_reason: FinishReason) -> ToolRun:
        return ToolRun(
            text=reply.text,
            value=reply.value,
            calls=self._uses,
            turns=turns,
            finish_reason=finish_reason,
            model=reply.model,
        )


def _numbered(key: str, calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """The calls, each with an id of its own, whatever ids the model gave them."""
    given = [call.id for call in calls]
    if all(given) and len(set(given)) == len(given):
        return calls
    return tuple(ToolCall(f"{key}.{index}", call.name, call.arguments) for index, call in enumerate(calls, 1))


def _last_moment(deadline: float) -> float:
    """When to ask for the final answer at the latest, in epoch seconds."""
    least, most = _RESERVED_SECONDS
    total = max(0.0, deadline - time.time())
    return deadline - min(most, max(min(least, total / 2), total * _RESERVED_SHARE))
