"""What a task may spend and do: as messages, as domain objects, as JSON, and what is wrong with it as sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from waybill.api.v1 import task_pb2
from waybill.core.budget import Budget, BudgetAction, TaskPolicy
from waybill.core.limits import (
    AGENT_NAME,
    MAX_BUDGET_MICROUSD,
    MAX_PLAN_STEPS,
    MAX_POLICY_ENTRIES,
    MAX_POLICY_ENTRY_CHARS,
    MAX_REVISIONS,
)
from waybill.errors import Violation
from waybill.rpc.enums import BUDGET_ACTION_FROM_PROTO, BUDGET_ACTION_TO_PROTO

POLICY_LISTS = ("allowed_agents", "allowed_tools", "allowed_hosts", "allowed_recipients")
_POLICY_NUMBERS = {"max_revisions": MAX_REVISIONS, "max_added_steps": MAX_PLAN_STEPS}
_POLICY = TaskPolicy()


def budget_from_proto(budget: task_pb2.Budget) -> Budget:
    """The budget of a message that has no violations."""
    return Budget(budget.max_cost_microusd, BUDGET_ACTION_FROM_PROTO[budget.on_limit])


def budget_to_proto(budget: Budget | None) -> task_pb2.Budget | None:
    """The budget as a message."""
    if budget is None:
        return None
    return task_pb2.Budget(max_cost_microusd=budget.max_cost_microusd, on_limit=BUDGET_ACTION_TO_PROTO[budget.on_limit])


def budget_to_json(budget: task_pb2.Budget) -> dict[str, Any]:
    """The budget as JSON."""
    action = BUDGET_ACTION_FROM_PROTO.get(budget.on_limit)
    return {
        "max_cost_microusd": budget.max_cost_microusd,
        "on_limit": action.value if action is not None else "unknown",
    }


def budget_violations(budget: task_pb2.Budget, field: str = "budget") -> list[Violation]:
    """What is wrong with a budget."""
    found = []
    if not 1 <= budget.max_cost_microusd <= MAX_BUDGET_MICROUSD:
        allowed = f"must lie between 1 and {MAX_BUDGET_MICROUSD} millionths of a US dollar; leave budget out for none"
        found.append(Violation(f"{field}.max_cost_microusd", f"is {budget.max_cost_microusd}, and {allowed}"))
    if budget.on_limit not in BUDGET_ACTION_FROM_PROTO:
        known = ", ".join(action.value for action in BudgetAction)
        found.append(Violation(f"{field}.on_limit", f"is {budget.on_limit}, which names nothing to do; use {known}"))
    return found


def policy_from_proto(policy: task_pb2.TaskPolicy) -> TaskPolicy:
    """The policy of a message that has no violations, defaults filled in."""
    return TaskPolicy(
        **{name: tuple(getattr(policy, name)) for name in POLICY_LISTS},
        max_revisions=policy.max_revisions if policy.HasField("max_revisions") else _POLICY.max_revisions,
        max_added_steps=policy.max_added_steps if policy.HasField("max_added_steps") else _POLICY.max_added_steps,
    )


def policy_to_proto(policy: TaskPolicy | None) -> task_pb2.TaskPolicy | None:
    """The policy as a message, every number set."""
    if policy is None:
        return None
    return task_pb2.TaskPolicy(**{name: getattr(policy, name) for name in (*POLICY_LISTS, *_POLICY_NUMBERS)})


def policy_to_json(policy: task_pb2.TaskPolicy) -> dict[str, Any]:
    """The policy as JSON, the numbers if they are set."""
    shown: dict[str, Any] = {name: list(getattr(policy, name)) for name in POLICY_LISTS}
    for name in _POLICY_NUMBERS:
        if policy.HasField(name):  # type: ignore[arg-type]
            shown[name] = getattr(policy, name)
    return shown


def policy_violations(policy: task_pb2.TaskPolicy, field: str = "policy") -> list[Violation]:
    """What is wrong with a policy."""
    return [Violation(f"{field}.{name}", problem) for name, problem in _policy_defects(policy)]


def _policy_defects(policy: task_pb2.TaskPolicy) -> Iterator[tuple[str, str]]:
    for name in POLICY_LISTS:
        entries = getattr(policy, name)
        if len(entries) > MAX_POLICY_ENTRIES:
            yield name, f"has {len(entries)} entries, over the limit of {MAX_POLICY_ENTRIES}"
            continue
        for position, entry in enumerate(entries):
            problem = _entry_defect(name, entry)
            if problem:
                yield f"{name}[{position}]", problem
    for name, most in _POLICY_NUMBERS.items():
        if not 0 <= getattr(policy, name) <= most:
            yield name, f"is {getattr(policy, name)}, and must lie between 0 and {most}"


def _entry_defect(name: str, entry: str) -> str:
    if not 1 <= len(entry) <= MAX_POLICY_ENTRY_CHARS:
        return f"must have 1 to {MAX_POLICY_ENTRY_CHARS} characters"
    if not entry.isprintable():
        return "has a character that cannot be printed; remove it"
    if name == "allowed_agents" and not AGENT_NAME.fullmatch(entry):
        return "is no name of an agent: a lower-case letter, then up to 63 of a-z, 0-9, '_' and '-'"
    if name == "allowed_tools":
        server, found, tool = entry.partition("/")
        if not (found and server and tool):
            return 'is no name of a tool; write "server/tool", or "server/*" for all tools of a server'
    if name == "allowed_hosts" and ("/" in entry or " " in entry):
        return 'is no name of a host; write one such as "example.org", or "*.example.org" for all below it'
    return ""
