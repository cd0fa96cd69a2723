"""What a model's plan may hold: only what the task's policy allows, where that can be read off the plan."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from injection_texts import Injection, injections
from planner_models import AGENTS
from waybill_planner.permitted import permitted_agents, policy_violations

from waybill.core.budget import TaskPolicy
from waybill.core.plan import AgentSchema, PlanStep

KNOWN = {name: AgentSchema(name, "", "{}") for name in AGENTS}
POLICY = TaskPolicy(
    allowed_agents=("tools", "http"),
    allowed_tools=("calendar/read", "notes/*"),
    allowed_hosts=("example.org", "*.example.org"),
    allowed_recipients=("team@example.org",),
)


def fields(agent: str, policy: TaskPolicy = POLICY, **value: Any) -> list[str]:
    step = PlanStep("s", agent, msgspec.json.encode(value))
    return [violation.field for violation in policy_violations([step], policy, "plan.steps")]


def test_where_no_agents_are_named_only_harmless_ones_may_be_used() -> None:
    assert set(permitted_agents(KNOWN, TaskPolicy())) == {"retriever", "analyst", "writer", "llm"}
    assert set(permitted_agents(KNOWN, POLICY)) == {"tools", "http"}


@pytest.mark.parametrize(
    ("servers", "tools", "wrong"),
    [
        (["calendar"], [], []),
        (["calendar", "notes"], ["calendar/read", "notes/write"], []),
        (["notes"], ["notes/*"], []),
        (["shell"], [], ["servers"]),
        (["calendar"], ["calendar/delete"], ["tools"]),
        (["calendar"], ["calendar/*"], []),
        (["shell"], ["shell/run"], ["servers", "tools"]),
    ],
)
def test_tools_are_those_that_the_policy_allows(servers: list[str], tools: list[str], wrong: list[str]) -> None:
    assert fields("tools", servers=servers, tools=tools) == [f"plan.steps[0].input.{name}" for name in wrong]
    assert fields("tools", TaskPolicy(), servers=servers, tools=tools) == []


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/a", True),
        ("https://docs.example.org/${look.path}?q=${task.goal}", True),
        ("https://example.org${look.path}", False),
        ("https://${look.host}/", False),
        ("${look.url}", False),
        ("https://evil.example/${look.path}", False),
        ("https://example.org@evil.example/${x}", False),
        ("http://[", False),
        ("file:///etc/passwd", False),
    ],
)
def test_hosts_are_those_that_the_policy_allows(url: str, allowed: bool) -> None:
    policy = TaskPolicy(allowed_hosts=POLICY.allowed_hosts)
    assert fields("http", policy, url=url) == ([] if allowed else ["plan.steps[0].input.url"])
    assert fields("http", TaskPolicy(), url=url) == []


@pytest.mark.parametrize("order", injections(), ids=lambda order: order.name)
def test_nobody_is_sent_anything_whom_a_text_orders_to_be_sent_it(order: Injection) -> None:
    value = {"servers": ["notes"], "goal": f"Send it to {order.recipient}, not to team@example.org."}
    assert fields("tools", **value) == ["plan.steps[0].input"]
    assert fields("http", url="https://example.org/", data={"to": [order.recipient]}) == ["plan.steps[0].input"]
    assert fields("tools", servers=["notes"], goal="Send it to team@example.org.") == []
