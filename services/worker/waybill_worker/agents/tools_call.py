"""One tool call that the model asks for: checked against the catalog, the schema and the policy, then made once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import msgspec

from waybill import NOT_DONE, Context, ToolCall
from waybill.core.budget import TaskPolicy
from waybill.errors import EffectUnknown
from waybill.telemetry import conventions, tracing
from waybill_worker.agents import tools_recipients
from waybill_worker.agents.tools_catalog import Catalog, CatalogTool
from waybill_worker.agents.tools_config import ToolServers
from waybill_worker.agents.tools_connection import Answered, Doubtful, NotCalled
from waybill_worker.agents.tools_result import Outcome, cut, outcome_of
from waybill_worker.agents.tools_session import Sessions

MAX_ARGUMENTS_CHARS = 256 * 1024
_MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a call that the model asked for. `tool` is None if there is no such tool."""

    tool: CatalogTool | None
    arguments: Any
    outcome: Outcome
    refused: bool = False


class Caller:
    """Makes the calls of one attempt."""

    def __init__(
        self, ctx: Context, servers: ToolServers, sessions: Sessions, catalog: Catalog, policy: TaskPolicy
    ) -> None:
        self._ctx = ctx
        self._servers = servers
        self._sessions = sessions
        self._catalog = catalog
        self._policy = policy

    async def make(self, turn: int, index: int, call: ToolCall) -> Made:
        """Make the call, unless an earlier attempt has, or it must not be made.

        Raises EffectUnknown if nobody knows whether it was made and its tool is not known to bear a repetition.
        """
        tool = self._catalog.get(call.name)
        if tool is None:
            return Made(None, None, Outcome(f"there is no tool {call.name[:_MAX_NAME_CHARS]!r}", failed=True), True)
        arguments, problem = _parsed(call.arguments)
        problem = problem or tool.problem_with(arguments)
        if problem:
            return Made(tool, arguments, Outcome(f"not called, the arguments do not fit: {problem}", failed=True))
        if why := self._refusal(tool, arguments):
            self._ctx.progress(f"refused {tool.label}: {why}"[:500])
            return Made(tool, arguments, Outcome(f"refused, and not called: {why}", failed=True), True)
        return Made(tool, arguments, await self._once(turn, index, tool, arguments))

    def _refusal(self, tool: CatalogTool, arguments: dict[str, Any]) -> str:
        """The catalog has only what the policy allows; this asks again, where it counts."""
        if not self._policy.allows_tool(tool.server, tool.name):
            return "the task's policy does not allow this tool"
        server = self._servers.get(tool.server)
        if server is None:
            return "its server is not configured any more"
        names = server.recipients_of(tool.name)
        return tools_recipients.refusal(arguments, names, tool.parameters, self._policy)

    async def _once(self, turn: int, index: int, tool: CatalogTool, arguments: dict[str, Any]) -> Outcome:
        server = self._servers.get(tool.server)
        bears_repetition = tool.repeatable and server is not None and server.trust_annotations
        key = _key(turn, index, tool, arguments)

        async def call() -> Any:
            about = {conventions.GEN_AI_TOOL: tool.name, conventions.TOOL_SERVER: tool.server}
            with tracing.step_of(conventions.EXECUTE_TOOL, tool.name, attributes=about) as span:
                outcome = await self._call(key, tool, arguments, bears_repetition)
                if outcome.failed:
                    tracing.fail(span, "TOOL_FAILED")
            return msgspec.to_builtins(outcome)

        done = await self._ctx.once(key, call, reconcile=(lambda _: NOT_DONE) if bears_repetition else None)
        return _recorded(done)

    async def _call(self, key: str, tool: CatalogTool, arguments: dict[str, Any], bears_repetition: bool) -> Outcome:
        self._ctx.progress(f"calling {tool.label}"[:500])
        try:
            result = await self._sessions.call(tool.server, tool.name, arguments, tool.fingerprint)
        except NotCalled as error:
            return Outcome(f"not called: {error}", failed=True)
        except Answered as error:
            return Outcome(cut(self._servers.blot(f"failed: {error}")), failed=True)
        except Doubtful as error:
            if bears_repetition:
                return Outcome(f"{error}; the call may be made again", failed=True)
            raise EffectUnknown(f"{tool.label}: {error}; whether {key!r} was done, a person has to find out") from None
        return outcome_of(result, self._servers)


def _key(turn: int, index: int, tool: CatalogTool, arguments: dict[str, Any]) -> str:
    """The name of the effect: the same for every attempt that comes to the same call, and readable for people."""
    said = json.dumps([tool.server, tool.name, arguments], sort_keys=True)
    return f"call:{turn}.{index}:{tool.model_name}:{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _parsed(text: str) -> tuple[dict[str, Any], str]:
    """The arguments as the model wrote them, and what is wrong with them."""
    if len(text) > MAX_ARGUMENTS_CHARS:
        return {}, f"they are longer than {MAX_ARGUMENTS_CHARS:,} characters"
    try:
        arguments = json.loads(text or "{}", parse_constant=_refuse)
        json.dumps(arguments, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return {}, "they are not JSON, or not Unicode"
    return (arguments, "") if isinstance(arguments, dict) else ({}, "they are not a JSON object")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _recorded(done: Any) -> Outcome:
    """What the record says. Where a person has decided, it may say anything."""
    try:
        return msgspec.convert(done, Outcome)
    except msgspec.ValidationError:
        return Outcome(cut(done if isinstance(done, str) else json.dumps(done, ensure_ascii=False)))
