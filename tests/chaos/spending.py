"""The money of the campaign: a server of models that misbehaves and keeps a bill, a tool that pays, and their checks.

The server runs in the campaign's own process, which no fault hits: what it billed is what the suite has to answer for.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mcp_test_servers import effects_of, stdio_entry, write_config
from model_answers import Behaviour, Billed, Random, Request, obliging
from model_server import ModelServer

from chaos.checks import Kind, Violation
from chaos.history import History
from waybill.core.task import TaskState
from waybill.ledger.call_records import CallRecord, CallState

SHARES = {
    "429": 0.05,
    "500": 0.05,
    "connect": 0.03,
    "disconnect": 0.05,
    "malformed": 0.03,
    "slow": 0.1,
    "no_usage": 0.05,
}
"""How often the server misbehaves, and how."""
MOST_AT_ONCE = 12
TENANT_MICROUSD = 1_000_000_000
"""What the tenant may spend in all; tasks have budgets of their own."""
MODELS = """
default = "large"

[endpoints.chaos]
base_url = "{url}"
max_concurrency = {most}

[models.large]
endpoint = "chaos"
model = "chaos-large"
max_output_tokens = 400
cheaper = "small"
input_usd_per_million = 2
output_usd_per_million = 2

[models.small]
endpoint = "chaos"
model = "chaos-small"
max_output_tokens = 100
input_usd_per_million = 1
output_usd_per_million = 1
"""
_PRICES = {"chaos-large": 2, "chaos-small": 1}
_AMOUNT = re.compile(r"pay (\d+)")

Calls = Mapping[str, Sequence[CallRecord]]
"""The model calls of each task, by its resource name."""


def paying(request: Request) -> Behaviour:
    """Does what it is asked: pays once with the tool that it is offered; says what it is told; fills in forms."""
    tools = request.body.get("tools") or ()
    said = [str(message.get("content") or "") for message in request.body["messages"]]
    if tools and not any(message["role"] == "tool" for message in request.body["messages"]):
        (amount,) = _AMOUNT.findall("\n".join(said))[:1]
        return Behaviour(tool_calls=((tools[0]["function"]["name"], json.dumps({"amount": int(amount)})),))
    return Behaviour(text="paid") if tools else obliging(request)


def model_server(seed: int) -> ModelServer:
    """The server, with the faults of a seed."""
    return ModelServer(Random(seed, SHARES, paying), max_concurrency=2 * MOST_AT_ONCE)


def worker_environment(folder: Path, url: str) -> dict[str, str]:
    """What workers need to use the model and the tool."""
    models, payments = folder / "models.toml", folder / "payments"
    models.write_text(MODELS.format(url=url, most=MOST_AT_ONCE))
    servers = write_config(folder / "mcp.json", books=stdio_entry(payments))
    return {"WAYBILL_LLM_CONFIG_FILE": str(models), "WAYBILL_WORKER_MCP_CONFIG_FILE": str(servers)}


def planner_environment(folder: Path) -> dict[str, str]:
    """What the planner needs to use the model."""
    return {"WAYBILL_LLM_CONFIG_FILE": str(folder / "models.toml")}


def payments(folder: Path) -> Counter[int]:
    """How often each amount was really paid."""
    return Counter(arguments["amount"] for name, arguments in effects_of(folder / "payments") if name == "pay")


def cost_of(billed: Billed) -> int:
    """What a call on the bill cost, in micro-dollars."""
    return _PRICES[billed.model] * (billed.prompt_tokens + billed.completion_tokens)


def check_bill(bill: Iterable[Billed], calls: Calls) -> Iterator[Violation]:
    """Every call on the bill is in the ledger: for what it cost if its end was seen, else for no less."""
    costs: dict[str, list[int]] = {}
    for billed in bill:
        costs.setdefault(_account(billed.call), []).append(cost_of(billed))
    for task, records in calls.items():
        for account, held in _by_account(task, records).items():
            yield from _compared(account, sum(costs.get(account, ())), held)
    known = {account for task, records in calls.items() for account in _by_account(task, records)}
    for account in costs.keys() - known:
        yield Violation(Kind.MONEY, account, f"was billed {sum(costs[account])} micro-dollars, and is in no account")


def _account(call: str) -> str:
    """Where a call is accounted: by itself, but those of the planner by the round that they were made in."""
    task, step, attempt, _ = call.split("/")
    return f"{task}/0/{attempt}" if step == "0" else call


def _by_account(task: str, records: Iterable[CallRecord]) -> dict[str, list[CallRecord]]:
    found: dict[str, list[CallRecord]] = {}
    for record in records:
        call = f"{task.removeprefix('tasks/')}/{record.step_number}/{record.attempt}/{record.number}"
        found.setdefault(_account(call), []).append(record)
    return found


def _compared(account: str, billed_microusd: int, records: Sequence[CallRecord]) -> Iterator[Violation]:
    held_microusd = sum(record.usage.cost_microusd for record in records)
    if any(record.state is CallState.OPEN for record in records):
        yield Violation(Kind.MONEY, account, "is still open at the end")
    elif all(record.state is CallState.SETTLED for record in records):
        if held_microusd != billed_microusd:
            yield Violation(Kind.MONEY, account, f"counts {held_microusd}, and was billed {billed_microusd}")
    elif held_microusd < billed_microusd:
        yield Violation(Kind.MONEY, account, f"is estimated at {held_microusd}, and was billed {billed_microusd}")


def check_budgets(histories: Iterable[History], bill: Iterable[Billed]) -> Iterator[Violation]:
    """No task was billed, or counts, more than its budget."""
    billed: Counter[str] = Counter()
    for call in bill:
        billed[f"tasks/{call.call.split('/')[0]}"] += cost_of(call)
    for history in histories:
        budget, task = history.promise.scenario.budget_microusd, history.task
        if not budget or task is None:
            continue
        for what, spent in (("was billed", billed[task.name]), ("counts", task.usage.cost_microusd)):
            if spent > budget:
                yield Violation(Kind.MONEY, task.name, f"{what} {spent} micro-dollars, over its budget of {budget}")


def check_payments(histories: Iterable[History], paid: Mapping[int, int]) -> Iterator[Violation]:
    """Nothing was paid twice, and what succeeded was paid."""
    for history in histories:
        amount, task = history.promise.scenario.amount, history.task
        if not amount or task is None:
            continue
        count = paid.get(amount, 0)
        if count > 1:
            yield Violation(Kind.DUPLICATE_EFFECT, task.name, f"paid {amount} {count} times")
        if task.state is TaskState.SUCCEEDED and count == 0:
            yield Violation(Kind.OUTCOME, task.name, f"succeeded, and never paid {amount}")
