"""Owns usage, model calls, budgets and limits as tables and lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from waybill.api.v1 import task_pb2
from waybill.cli.layout import Column, cell_of, new_table, print_table, show_table
from waybill.cli.lines import readable, usage_text, usd_text
from waybill.cli.tables import short_time
from waybill.rpc import conversion
from waybill.rpc.enums import CALL_STATE_FROM_PROTO

_PLANNER = "(planner)"
_USAGE_NUMBERS = ("calls", "tokens in", "cached", "tokens out", "reasoning", "cost", "of it estimated")
_CALLS = (
    ("began", Column.NAME),
    ("step", Column.NAME),
    ("attempt", Column.NUMBER),
    ("call", Column.NUMBER),
    ("model", Column.NAME),
    ("endpoint", Column.NAME),
    ("state", Column.STATE),
    ("took", Column.NUMBER),
    ("used", Column.TEXT),
)
_LIMITS = (
    ("limit", Column.NAME),
    ("at once", Column.NUMBER),
    ("a minute", Column.NUMBER),
    ("tokens a minute", Column.NUMBER),
    ("held", Column.NUMBER),
    ("waiting", Column.NUMBER),
    ("learned", Column.TEXT),
    ("blocked until", Column.NAME),
)


def print_usage(rows: Iterable[task_pb2.UsageRow], total: task_pb2.Usage, columns: Sequence[str]) -> None:
    """Rows of usage by these columns, and their total."""
    kinds = [*((name, Column.NAME) for name in columns), *((name, Column.NUMBER) for name in _USAGE_NUMBERS)]
    table = new_table(kinds)
    count = 0
    for row in rows:
        count += row.calls
        keys = (_key_text(row, column) for column in columns)
        table.add_row(*map(cell_of, (*keys, row.calls, *_numbers(row.usage))))
    blank = ("",) * (len(columns) - 1)
    table.add_row(*map(cell_of, ("total", *blank, count, *_numbers(total))), style="bold")
    show_table(table)


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
    print_table(_CALLS, map(_call_row, calls))
    for call in calls:
        for name in ("prompt", "response"):
            if call.HasField(name):
                print(f"\n{name} of {_step_of(call)}, attempt {call.attempt}, call {call.call}:")
                print(readable(getattr(call, name).data.decode(errors="replace")))


def _call_row(call: task_pb2.ModelCall) -> tuple[Any, ...]:
    took_ms = conversion.epoch_ms(call.end_time) - conversion.epoch_ms(call.start_time)
    return (
        short_time(call.start_time),
        _step_of(call),
        call.attempt,
        call.call,
        call.model,
        call.endpoint,
        CALL_STATE_FROM_PROTO.get(call.state, "unknown"),
        f"{took_ms / 1000:.2f} s" if call.HasField("end_time") else "",
        usage_text(conversion.usage_from_proto(call.usage)),
    )


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
    print_table(_LIMITS, map(_limit_row, limits))


def _limit_row(limit: task_pb2.Limit) -> tuple[Any, ...]:
    set_numbers = (limit.max_concurrency, limit.requests_per_minute, limit.tokens_per_minute)
    return (
        limit.name,
        *(number or "-" for number in set_numbers),
        limit.held,
        limit.waiting,
        _learned(limit),
        short_time(limit.blocked_until) if limit.HasField("blocked_until") else "",
    )


def _learned(limit: task_pb2.Limit) -> str:
    told = (
        (limit.learned_concurrency, "at once"),
        (limit.learned_requests_per_minute, "a minute"),
        (limit.learned_tokens_per_minute, "tokens a minute"),
    )
    return ", ".join(f"{number} {what}" for number, what in told if number)
