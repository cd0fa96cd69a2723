"""What a plan that a model wrote may hold: agents, tools and hosts that the task's policy allows, whatever it was told.

A model reads goals and outputs that anybody may have written. What it writes is therefore held to the policy here, and
once more where steps run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from waybill.core.budget import TaskPolicy
from waybill.core.plan import AgentSchema, PlanStep
from waybill.core.violations import shown
from waybill.errors import Violation
from waybill_planner.goal_plan import ANALYST, RETRIEVER, WRITER

UNASKED = frozenset({RETRIEVER, ANALYST, WRITER, "llm"})
"""Agents that a model's plan may use where the task's policy names none."""


_SENDING = frozenset({"tools", "http"})
_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
"""What looks like somebody's address. The agents check the arguments that name recipients, whatever they look like."""
_WHOLE_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\\]+[/?#]")


def permitted_agents(agents: Mapping[str, AgentSchema], policy: TaskPolicy) -> dict[str, AgentSchema]:
    """The agents that a model's plan may use."""
    allowed = frozenset(policy.allowed_agents) or UNASKED
    return {name: schema for name, schema in agents.items() if name in allowed}


def policy_violations(steps: Sequence[PlanStep], policy: TaskPolicy, field: str) -> list[Violation]:
    """What the steps would do that the policy does not allow; fields are paths below `field`."""
    return [
        Violation(f"{field}[{position}].input{name and '.'}{name}", problem)
        for position, step in enumerate(steps)
        for name, problem in _defects(step, policy)
    ]


def _defects(step: PlanStep, policy: TaskPolicy) -> Iterator[tuple[str, str]]:
    value = msgspec.json.decode(step.input)
    if not isinstance(value, dict):
        return
    if step.agent == "tools" and policy.allowed_tools:
        yield from _tool_defects(value, policy)
    if step.agent == "http" and policy.allowed_hosts and isinstance(url := value.get("url"), str):
        problem = _host_defect(url, policy)
        if problem:
            yield "url", problem
    if step.agent in _SENDING and policy.allowed_recipients:
        for address in dict.fromkeys(_ADDRESS.findall(step.input.decode("utf-8", "replace"))):
            if not policy.allows_recipient(address):
                yield "", f"names {shown(address)}, to whom the task's policy does not allow to send"


def _host_defect(url: str, policy: TaskPolicy) -> str:
    """A reference may stand behind the host, and not in it: nobody knows then what it will be."""
    literal = url.split("${", 1)[0]
    if literal != url and not _WHOLE_HOST.match(literal):
        return "must name its host itself, as the task's policy allows only some"
    try:
        host = urlsplit(literal).hostname or ""
    except ValueError:
        host = ""
    return "" if policy.allows_host(host) else f"{shown(url)} is on no host that the task's policy allows"


def _tool_defects(value: dict[str, Any], policy: TaskPolicy) -> Iterator[tuple[str, str]]:
    servers = {name.split("/", 1)[0] for name in policy.allowed_tools}
    for server in _texts(value.get("servers")):
        if server not in servers:
            yield "servers", f"the task's policy allows no tool of server {shown(server)}"
    for tool in _texts(value.get("tools")):
        server, _, name = tool.partition("/")
        if name != "*" and not policy.allows_tool(server, name):
            yield "tools", f"the task's policy does not allow tool {shown(tool)}"


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
