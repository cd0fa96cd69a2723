"""Owns usage, model calls, budgets and limits as tables and lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

from rich.table import Table
from rich.text import Text

from waybill.api.v1 import task_pb2
from waybill.cli.lines import readable, usage_text, usd_text
from waybill.cli.tables import table_console
from waybill.rpc import conversion
from waybill.rpc.enums import CALL_STATE_FROM_PROTO

_PLANNER = "(planner)"
_LEFT = frozenset({"day", "step", "agent", "model", "endpoint", "state", "began", "limit", "blocked until", "learned"})


def print_usage(rows: Iterable[task_pb2.UsageRow], total: task_pb2.Usage, columns: Sequence[str]) -> None:
    """Rows of usage by these columns, and their total."""
    table = _table(*columns, "calls", "tokens in", "cached", "tokens out", "reasoning", "cost", "of it estimated")
    count = 0
    for row in rows:
        count += row.calls
        keys = (_key_text(row, column) for column in columns)
        table.add_row(*_cells(*keys, row.calls, *_numbers(row.usage)))
    blank = ("",) * (len(columns) - 1)
    table.add_row(*_cells("total", *blank, count, *_numbers(total)), style="bold")
    table_console().print(table)


def _key_text(row: task_pb2.UsageRow, column: str) -> str:
    text: str = getattr(row, column)
    if column == "step":
        return text or _PLANNER
    return text or ("(reported by agents)" if column == "model" else "")


def _numbers(usage: task_pb2.Usage) -> tuple[str, ...]:
    estimated = usd_text(usage.estimated_microusd) if usage.estimated_microusd else ""
    tokens = (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.reasoning_tokens)
    return (*map(str, tokens), usd_text(usage.cost_microusd), estimated)


def print_calls(calls: Sequence[task_pb2.ModelCall]) -> None:
    """Model calls, oldest first, and below them what was asked and answered, where that is there."""
    table = _table("began", "step", "attempt", "call", "model", "endpoint", "state", "took", "used")
    for call in calls:
        began = call.start_time.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        told = call.HasField("end_time")
        took_ms = (conversion.epoch_ms(call.end_time) - conversion.epoch_ms(call.start_time)) if told else 0
        state = CALL_STATE_FROM_PROTO.get(call.state, "unknown")
        used = usage_text(conversion.usage_from_proto(call.usage))
        table.add_row(
            *_cells(
                began,
                _step_of(call),
                call.attempt,
                call.call,
                call.model,
                call.endpoint,
                state,
                f"{took_ms / 1000:.2f} s" if told else "",
                used,
            )
        )
    table_console().print(table)
    for call in calls:
        for name in ("prompt", "response"):
            if call.HasField(name):
                print(f"\n{name} of {_step_of(call)}, attempt {call.attempt}, call {call.call}:")
                print(readable(getattr(call, name).data.decode(errors="replace")))


def _step_of(call: task_pb2.ModelCall) -> str:
    _, found, step = call.step.partition("/steps/")
    return step if found else _PLANNER


def print_budget(budget: task_pb2.TenantBudget) -> None:
    """What a tenant may spend, and has."""
    for name, spent, most in (
        ("in all", budget.spent_total_microusd, budget.max_total_microusd),
        ("today", budget.spent_day_microusd, budget.max_day_microusd),
    ):
        limit = f"of {usd_text(most)}" if most else "without a limit"
        print(f"{name:<9}{usd_text(spent)} {limit}")
    print(f"{'reserved':<9}{usd_text(budget.reserved_microusd)} for calls under way")


def print_limits(limits: Iterable[task_pb2.Limit]) -> None:
    """Limits with what was set, learned, held, and who waits."""
    titles = ("limit", "at once", "a minute", "tokens a minute", "held", "waiting", "learned", "blocked until")
    table = _table(*titles)
    for limit in limits:
        set_numbers = (limit.max_concurrency, limit.requests_per_minute, limit.tokens_per_minute)
        blocked = ""
        if limit.HasField("blocked_until"):
            blocked = limit.blocked_until.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        shown = (number or "-" for number in set_numbers)
        table.add_row(*_cells(limit.name, *shown, limit.held, limit.waiting, _learned(limit), blocked))
    table_console().print(table)


def _learned(limit: task_pb2.Limit) -> str:
    told = (
        (limit.learned_concurrency, "at once"),
        (limit.learned_requests_per_minute, "a minute"),
        (limit.learned_tokens_per_minute, "tokens a minute"),
    )
    return ", ".join(f"{number} {what}" for number, what in told if number)


def _table(*titles: str) -> Table:
    table = Table(box=None, header_style="bold")
    for title in titles:
        table.add_column(title, justify="left" if title in _LEFT else "right", overflow="fold")
    return table


def _cells(*values: Any) -> list[Text]:
    return [Text(str(value)) for value in values]
