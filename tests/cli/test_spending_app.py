"""The commands about money and limits: what they send, what they print, and how they end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc, task_pb2
from waybill.cli.lines import usd_text
from waybill.cli.main import app
from waybill.cli.reading import microusd
from waybill.core.limits import MAX_BUDGET_MICROUSD
from waybill.errors import InvalidArgument
from waybill.rpc.conversion import json_payload, timestamp


def used(cost: int, **more: int) -> task_pb2.Usage:
    return task_pb2.Usage(input_tokens=10 * cost, output_tokens=cost, cost_microusd=cost, **more)


class Gateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Has a task of three model calls, a tenant with a budget, and one limit; remembers what it is asked."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.budget = task_pb2.TenantBudget(max_total_microusd=9_000_000, spent_day_microusd=5, reserved_microusd=7)
        self.limit = task_pb2.Limit(
            name="limits/model:default", max_concurrency=4, requests_per_minute=60, tokens_per_minute=9_000, held=3
        )

    def GetUsage(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        if request.task == "tasks/idle":
            return gateway_pb2.GetUsageResponse(total=task_pb2.Usage())
        place = "step" if request.task else "day"
        rows = [
            task_pb2.UsageRow(**{place: "a"}, agent="writer", model="large", usage=used(2), calls=2),
            task_pb2.UsageRow(**{place: "b"}, agent="writer", model="small", usage=used(3), calls=1),
            task_pb2.UsageRow(**{place: "b"}, agent="reader", model="", usage=used(4)),
        ]
        return gateway_pb2.GetUsageResponse(total=used(9), rows=rows)

    def ListModelCalls(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        if request.parent == "tasks/idle":
            return gateway_pb2.ListModelCallsResponse()
        by_step = request.parent.endswith("/steps/a")
        page = int(request.page_token or 0)
        call = task_pb2.ModelCall(
            step="tasks/t1/steps/a" if page else "tasks/t1",
            attempt=2,
            call=page + 1,
            model="large",
            endpoint="default",
            state=task_pb2.MODEL_CALL_STATE_SETTLED if page else task_pb2.MODEL_CALL_STATE_OPEN,
            usage=used(3, estimated_microusd=0 if page else 3),
            start_time=timestamp(1_000),
            end_time=timestamp(3_500) if page else None,
            prompt=json_payload(b'"say\\u001b[2J\\n it"') if by_step else None,
            response=json_payload(b'"it"') if by_step else None,
        )
        return gateway_pb2.ListModelCallsResponse(calls=[call], next_page_token="" if page else "1")

    def GetTenantBudget(self, request: Any, context: Any) -> Any:
        return gateway_pb2.GetTenantBudgetResponse(budget=self.budget)

    def SetTenantBudget(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.SetTenantBudgetResponse(budget=request.budget)

    def ListLimits(self, request: Any, context: Any) -> Any:
        return gateway_pb2.ListLimitsResponse(limits=[self.limit] if self.limit.name else [])

    def SetLimit(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.SetLimitResponse(limit=request.limit)

    def SubmitTask(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.SubmitTaskResponse(task=task_pb2.Task(name="tasks/t1", state=task_pb2.TASK_STATE_PLANNING))

    def GetTask(self, request: Any, context: Any) -> Any:
        task = task_pb2.Task(name=request.name, state=task_pb2.TASK_STATE_RUNNING, plan_revision=3)
        task.usage.CopyFrom(used(20, cached_input_tokens=8, estimated_microusd=5))
        task.budget.max_cost_microusd, task.budget.on_limit = 500_000, task_pb2.BUDGET_ACTION_ASK
        task.reserved_microusd = 31
        return gateway_pb2.GetTaskResponse(task=task)

    def ListSteps(self, request: Any, context: Any) -> Any:
        asks = task_pb2.Step(name="tasks/t1/steps/a", agent="writer", state=task_pb2.STEP_STATE_WAITING, usage=used(20))
        asks.question.prompt, asks.question.answer_schema = "How much more?", '{"type":"object"}'
        skipped = task_pb2.Step(name="tasks/t1/steps/b", state=task_pb2.STEP_STATE_SKIPPED, when=["${a.ok}"])
        dropped = task_pb2.Step(name="tasks/t1/steps/c", state=task_pb2.STEP_STATE_SKIPPED, dropped=True)
        added = task_pb2.Step(name="tasks/t1/steps/d", state=task_pb2.STEP_STATE_READY, plan_revision=2)
        added.waiting_reason = "waits for a permit of limits/key:crm"
        return gateway_pb2.ListStepsResponse(steps=[asks, skipped, dropped, added])

    def GetTaskMetrics(self, request: Any, context: Any) -> Any:
        return gateway_pb2.GetTaskMetricsResponse(metrics=task_pb2.TaskMetrics(name=request.name))


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


Waybill = Callable[..., Any]


@pytest.fixture
def waybill(gateway: Gateway) -> Iterator[Waybill]:
    """Runs a command in this process."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(gateway, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    def call(*arguments: str, stdin: str = "") -> Any:
        return CliRunner().invoke(app, [*arguments, "--address", address], input=stdin)

    yield call
    server.stop(None).wait()


def rows_of(ran: Any) -> list[list[str]]:
    """The cells of a table, line by line."""
    assert ran.exit_code == 0, ran.output
    return [line.split() for line in ran.stdout.splitlines()]


def test_usage_is_printed_row_by_row_with_its_total(waybill: Waybill, gateway: Gateway) -> None:
    head, first, *_, total = rows_of(waybill("usage", "t1"))
    assert head[:4] == ["step", "agent", "model", "calls"]
    assert first == ["a", "writer", "large", "2", "20", "0", "2", "0", "$0.000002"]
    assert total == ["total", "3", "90", "0", "9", "0", "$0.000009"]
    assert rows_of(waybill("usage", "--from", "2026-11-01", "--until", "2026-11-24"))[0][0] == "day"
    assert (gateway.seen[0].task, gateway.seen[1].task) == ("tasks/t1", "")
    assert (gateway.seen[1].from_day, gateway.seen[1].until_day) == ("2026-11-01", "2026-11-24")
    idle = waybill("usage", "idle")
    assert (idle.exit_code, idle.stdout, idle.stderr) == (0, "", "waybill: nothing was used\n")


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("step", {"a": 2, "b": 7}),
        ("agent", {"reader": 4, "writer": 5}),
        ("model", {"": 4, "large": 2, "small": 3}),
    ],
)
def test_usage_is_summed_by_what_is_asked(waybill: Waybill, by: str, expected: dict[str, int]) -> None:
    told = json.loads(waybill("usage", "t1", "--by", by, "--json").stdout)
    assert {row[by]: row["usage"]["cost_microusd"] for row in told["rows"]} == expected
    assert all(set(row) == {by, "usage", "calls"} for row in told["rows"])
    assert sum(expected.values()) == told["total"]["cost_microusd"]
    assert len(rows_of(waybill("usage", "t1", "--by", by))) == len(expected) + 2


def test_usage_says_which_questions_make_no_sense(waybill: Waybill, gateway: Gateway) -> None:
    for wrong, option in (
        (("t1", "--from", "2026-11-01"), "--from"),
        (("t1", "--by", "day"), "--by"),
        (("--by", "step"), "--by"),
    ):
        refused = waybill("usage", *wrong)
        assert refused.exit_code == 2
        assert option in refused.stderr
    assert gateway.seen == []


def test_calls_are_printed_page_after_page_with_what_is_kept_of_a_step(waybill: Waybill, gateway: Gateway) -> None:
    of_task = waybill("calls", "t1")
    _, planner, step = rows_of(of_task)
    assert planner[2:8] == ["(planner)", "2", "1", "large", "default", "open"]
    assert step[2:10] == ["a", "2", "2", "large", "default", "settled", "2.50", "s"]
    assert "is an upper estimate" in of_task.stdout
    for parent in ("t1/a", "tasks/t1/steps/a"):
        of_step = waybill("calls", parent)
        assert 'prompt of a, attempt 2, call 2:\n"say' in of_step.stdout
        assert gateway.seen[-1].parent == "tasks/t1/steps/a"
    lines = waybill("calls", "t1/a", "--json").stdout.splitlines()
    assert [json.loads(line)["response"] for line in lines] == ["it", "it"]
    assert waybill("calls", "idle").stderr == "waybill: no model was called\n"


def test_the_budget_is_shown_in_dollars(waybill: Waybill) -> None:
    assert waybill("budget", "show").stdout == (
        "in all   $0.000000 of $9.000000\ntoday    $0.000005 without a limit\nreserved $0.000007 for calls under way\n"
    )
    assert json.loads(waybill("budget", "show", "--json").stdout)["max_total_microusd"] == 9_000_000


def test_a_budget_keeps_what_is_not_set_anew(waybill: Waybill, gateway: Gateway) -> None:
    assert "$9.000000" in waybill("budget", "set", "--day-usd", "5.00").stdout
    assert waybill("budget", "set", "--total-usd", "none", "--request-id", "mine").exit_code == 0
    assert waybill("budget", "set", "--total-usd", "0.000001", "--day-usd", "2", "--json").exit_code == 0
    sent = [(request.budget.max_total_microusd, request.budget.max_day_microusd) for request in gateway.seen]
    assert sent == [(9_000_000, 5_000_000), (0, 0), (1, 2_000_000)]
    assert gateway.seen[0].request_id
    assert gateway.seen[1].request_id == "mine"
    for wrong in ((), ("--day-usd", "0"), ("--day-usd", "-1"), ("--day-usd", "1e3"), ("--total-usd", "1000000.1")):
        assert waybill("budget", "set", *wrong).exit_code == 2
    assert len(gateway.seen) == 3


@given(st.integers(1, MAX_BUDGET_MICROUSD))
def test_an_amount_is_read_as_it_is_written(amount: int) -> None:
    assert microusd(usd_text(amount).removeprefix("$"), "--day-usd") == amount


@given(st.text(max_size=12).filter(lambda typed: not re.fullmatch(r"[0-9]+(\.[0-9]+)?", typed)))
def test_what_is_no_amount_is_refused(typed: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        microusd(typed, "--day-usd")
    assert [violation.field for violation in caught.value.violations] == ["--day-usd"]


def test_limits_are_listed_set_and_removed(waybill: Waybill, gateway: Gateway) -> None:
    assert rows_of(waybill("limits", "list"))[1] == ["limits/model:default", "4", "60", "9000", "3", "0"]
    assert json.loads(waybill("limits", "list", "--json").stdout)["held"] == 3
    assert rows_of(waybill("limits", "set", "key:crm", "--concurrency", "2"))[1][:4] == [
        "limits/key:crm",
        "2",
        "-",
        "-",
    ]
    assert waybill("limits", "set", "limits/model:default", "--per-minute", "0").exit_code == 0
    assert waybill("limits", "remove", "model:default").stdout == "limits/model:default removed\n"
    sent = [
        (limit.name, limit.max_concurrency, limit.requests_per_minute, limit.tokens_per_minute)
        for limit in (request.limit for request in gateway.seen)
    ]
    assert sent == [
        ("limits/key:crm", 2, 0, 0),
        ("limits/model:default", 4, 0, 9_000),
        ("limits/model:default", 0, 0, 0),
    ]
    assert all(request.request_id for request in gateway.seen)
    assert waybill("limits", "set", "key:crm").exit_code == 2
    assert waybill("limits", "set", "key:crm", "--concurrency", "-1").exit_code == 2
    gateway.limit.Clear()
    assert waybill("limits", "list").stderr == "waybill: nothing is limited\n"


def test_submit_sends_budget_and_policy(waybill: Waybill, gateway: Gateway, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"allowed_agents": ["writer"], "max_revisions": 0}')
    options = ("--goal", "g", "--max-cost-usd", "0.50", "--on-limit", "ask")
    assert waybill("submit", *options, "--policy", str(policy)).stdout == "tasks/t1\n"
    assert waybill("submit", "--goal", "g", "--policy", "-", stdin='{"allowed_hosts": ["a.org"]}').exit_code == 0
    first, second = (request.spec for request in gateway.seen)
    assert (first.budget.max_cost_microusd, first.budget.on_limit) == (500_000, task_pb2.BUDGET_ACTION_ASK)
    assert (list(first.policy.allowed_agents), first.policy.max_revisions) == (["writer"], 0)
    assert list(second.policy.allowed_hosts) == ["a.org"]
    assert not second.HasField("budget")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--on-limit", "ask"), "--max-cost-usd"),
        (("--max-cost-usd", "much"), "--max-cost-usd"),
        (("--max-cost-usd", "0"), "--max-cost-usd"),
        (("--policy", "-"), "--policy"),
        (("--policy", "nowhere.json"), "--policy"),
    ],
)
def test_submit_says_what_is_wrong_with_a_budget_or_a_policy(
    waybill: Waybill, gateway: Gateway, options: tuple[str, ...], told: str
) -> None:
    refused = waybill("submit", "--goal", "g", *options, stdin="[]")
    assert refused.exit_code == 2
    assert told in refused.stderr
    assert gateway.seen == []


def test_show_tells_of_money_conditions_and_revisions(waybill: Waybill) -> None:
    shown = waybill("show", "t1").stdout
    assert "200 tokens in (8 cached), 20 out, $0.000020, of which $0.000005 is an upper estimate" in shown
    assert "$0.500000, at the limit: ask" in shown
    assert "$0.000031 for calls under way" in shown
    assert "revision 3" in shown
    steps = {line.split()[0]: line for line in shown.splitlines() if line.split() and line.split()[0] in "abcd"}
    assert "$0.000020" in steps["a"]
    assert 'How much more? (answer: {"type":"object"})' in steps["a"]
    assert "skipped unless ${a.ok}" in steps["b"]
    assert "dropped by a revision of the plan" in steps["c"]
    assert "waits for a permit of limits/key:crm; added in revision 2" in steps["d"]
