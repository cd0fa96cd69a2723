"""The tools that a step may call: chosen once from what its servers list, and the same for all attempts of the step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from jsonschema import SchemaError
from jsonschema.validators import validator_for
from mcp_types import Tool as ListedTool

from waybill import Tool
from waybill.core.budget import TaskPolicy
from waybill.core.schema import check_schema, misfits
from waybill.errors import InvalidArgument, Permanent
from waybill_worker.agents.tools_config import ToolServers
from waybill_worker.agents.tools_connection import fingerprint
from waybill_worker.agents.tools_recipients import declared

MAX_TOOLS = 128
"""Most tools that a model is told of."""
MAX_DESCRIPTION_CHARS = 4_096
MAX_PARAMETERS_BYTES = 32 * 1024
MAX_CATALOG_BYTES = 512 * 1024
_MAX_MODEL_NAME_CHARS = 64
_MAX_PROBLEM_CHARS = 500
_MAX_PROBLEMS = 5
_UNFIT_FOR_MODELS = re.compile(r"[^A-Za-z0-9_-]")


class CatalogTool(msgspec.Struct, frozen=True):
    """One tool of one server, as it was when the step began."""

    server: str
    name: str
    model_name: str
    """The name that the model knows it by."""
    description: str
    parameters: dict[str, Any]
    """JSON Schema of its arguments."""
    fingerprint: str
    repeatable: bool
    """Whether its server says that calling it twice does no more than calling it once."""
    checkable: bool = True
    """Whether arguments can be checked against the schema here, in bounded time."""

    @property
    def label(self) -> str:
        """`server/tool`, for people and for policies."""
        return f"{self.server}/{self.name}"

    def problem_with(self, arguments: Any) -> str:
        """Why the arguments do not fit the tool's own schema; empty if they do, or if only its server can tell."""
        if not self.checkable:
            return ""
        try:
            found = misfits(json.dumps(self.parameters), arguments)
        except InvalidArgument as error:
            return error.message[:_MAX_PROBLEM_CHARS]
        shown = [f"{'.'.join(map(str, path)) or 'arguments'}: {problem}" for path, problem in found[:_MAX_PROBLEMS]]
        return "; ".join(shown)[:_MAX_PROBLEM_CHARS]


class Catalog:
    """The tools by the names that the model uses. What is not in it cannot be called."""

    def __init__(self, tools: Iterable[CatalogTool]) -> None:
        self._tools = {tool.model_name: tool for tool in tools}

    def get(self, model_name: str) -> CatalogTool | None:
        """The tool that the model means."""
        return self._tools.get(model_name)

    def for_model(self) -> tuple[Tool, ...]:
        """All tools, as a model is told of them."""
        return tuple(Tool(tool.model_name, tool.description, tool.parameters) for tool in self._tools.values())


class Choice(msgspec.Struct, frozen=True):
    """What was chosen from the servers' lists, and why what else was allowed was left out."""

    tools: tuple[CatalogTool, ...]
    left_out: tuple[str, ...] = ()


def wants(allowed: Sequence[str], server: str, tool: str) -> bool:
    """Whether a step's own list lets it call the tool; an empty list means all."""
    return not allowed or f"{server}/{tool}" in allowed or f"{server}/*" in allowed


def choose(
    listed: Mapping[str, Mapping[str, ListedTool]], servers: ToolServers, allowed: Sequence[str], policy: TaskPolicy
) -> Choice:
    """The tools that both the step and its task's policy allow, and that are fit to be called.

    Raises Permanent if there is none, if a name of the step's list names none, or if they are too many.
    """
    chosen: list[CatalogTool] = []
    left_out: list[str] = []
    names: set[str] = set()
    for server, tools in sorted(listed.items()):
        left_out += _undeclarable(server, tools, servers, policy)
        for tool in sorted(tools.values(), key=lambda one: one.name):
            if not wants(allowed, server, tool.name) or not policy.allows_tool(server, tool.name):
                continue
            if problem := _unfit(server, tool, servers):
                left_out.append(f"{server}/{tool.name[:100]}: {problem}")
                continue
            chosen.append(_entry(server, tool, names, servers))
    _check(chosen, left_out, listed, allowed)
    return Choice(tuple(chosen), tuple(left_out[:MAX_TOOLS]))


def _undeclarable(server: str, tools: Mapping[str, ListedTool], servers: ToolServers, policy: TaskPolicy) -> list[str]:
    """Tools whose recipients the operator has declared, and that the server does not have: its name for them may be
    another, under which they would not be checked. Raises Permanent where recipients are limited.
    """
    config = servers.get(server)
    missing = sorted(set(config.recipients if config else ()) - tools.keys())
    if missing and policy.allowed_recipients:
        raise Permanent(
            f"the operator's file declares recipients of {server}/{missing[0]}, and the server has no such tool, so "
            "that nobody can check whom its tools write to",
            reason="TOOL_CONFIG_INVALID",
        )
    return [f"{server}/{tool}: the server has no such tool" for tool in missing]


def _unfit(server: str, tool: ListedTool, servers: ToolServers) -> str:
    if len(json.dumps(tool.input_schema)) > MAX_PARAMETERS_BYTES:
        return f"its schema is larger than {MAX_PARAMETERS_BYTES:,} bytes"
    try:
        validator_for(tool.input_schema).check_schema(tool.input_schema)
    except (SchemaError, RecursionError):
        return "its schema is not valid"
    config = servers.get(server)
    for name in config.recipients_of(tool.name) if config else ():
        if not declared(tool.input_schema, name):
            return f"the operator's file says that {name} names recipients, and the tool has no such argument"
    return ""


def _entry(server: str, tool: ListedTool, names: set[str], servers: ToolServers) -> CatalogTool:
    hints = tool.annotations
    return CatalogTool(
        server=server,
        name=tool.name,
        model_name=_model_name(server, tool.name, names),
        description=servers.blot(tool.description or tool.title or "")[:MAX_DESCRIPTION_CHARS],
        parameters=tool.input_schema,
        fingerprint=fingerprint(tool),
        repeatable=hints is not None and bool(hints.read_only_hint or hints.idempotent_hint),
        checkable=_checkable(tool.input_schema),
    )


def _checkable(schema: Mapping[str, Any]) -> bool:
    try:
        check_schema(json.dumps(schema))
    except InvalidArgument:
        return False
    return True


def _model_name(server: str, tool: str, names: set[str]) -> str:
    """A name that models take, different from all before."""
    plain = _UNFIT_FOR_MODELS.sub("_", f"{server}__{tool}")
    name, number = plain[:_MAX_MODEL_NAME_CHARS], 1
    while name in names:
        number += 1
        suffix = f"_{number}"
        name = plain[: _MAX_MODEL_NAME_CHARS - len(suffix)] + suffix
    names.add(name)
    return name


def _check(
    chosen: Sequence[CatalogTool],
    left_out: Sequence[str],
    listed: Mapping[str, Mapping[str, ListedTool]],
    allowed: Sequence[str],
) -> None:
    missing = [name for name in allowed if not _exists(name, listed)]
    if missing:
        raise Permanent(f"tools: there is no tool {missing[0][:200]}", reason="TOOL_UNKNOWN")
    if not chosen:
        why = (
            f": {'; '.join(left_out[:3])}" if left_out else "; see `tools` of the step and `allowed_tools` of the task"
        )
        raise Permanent(f"the step may call no tool of its servers{why}", reason="TOOLS_NONE")
    size = sum(len(json.dumps(tool.parameters)) + len(tool.description) for tool in chosen)
    if len(chosen) > MAX_TOOLS or size > MAX_CATALOG_BYTES:
        raise Permanent(
            f"the servers have {len(chosen)} tools, described in {size:,} bytes; the limits are {MAX_TOOLS} and "
            f"{MAX_CATALOG_BYTES:,} bytes: name those that the step needs in `tools`",
            reason="TOOLS_TOO_MANY",
        )


def _exists(name: str, listed: Mapping[str, Mapping[str, ListedTool]]) -> bool:
    server, _, tool = name.partition("/")
    return server in listed and (tool == "*" or tool in listed[server])
