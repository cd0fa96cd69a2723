"""Owns turning what was typed into values: submissions, filters, plan files, documents, money, times, spans."""

from __future__ import annotations

import mimetypes
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from waybill.core.budget import Budget, BudgetAction
from waybill.core.limits import MAX_BUDGET_MICROUSD
from waybill.core.task import Document, Priority, TaskState
from waybill.errors import InvalidArgument
from waybill.filters import TaskFilter
from waybill.plan_file import PlanFile, read_plan_file
from waybill.resources import Submission

_TEXT = "text/plain"
_SPAN_PART = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AMOUNT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_MEDIA_TYPES = {".md": "text/markdown", ".markdown": "text/markdown", ".txt": _TEXT, ".rst": _TEXT}


@dataclass(frozen=True)
class Typed:
    """The arguments of `waybill submit`, as typed."""

    goal: str = ""
    plan: Path | None = None
    input: str = ""
    sources: Sequence[str] = ()
    documents: Sequence[Path] = ()
    labels: Sequence[str] = ()
    priority: Priority = Priority.NORMAL
    request_id: str = ""
    deadline: str = ""
    template: str = ""
    max_cost_usd: str = ""
    on_limit: BudgetAction | None = None
    policy: Path | None = None
    start_at: str = ""
    parameters: Sequence[str] = ()


@dataclass(frozen=True)
class TypedFilter:
    """The options that name many tasks, as typed."""

    states: Sequence[TaskState] = ()
    labels: Sequence[str] = ()
    agent: str = ""
    template: str = ""
    since: str = ""
    until: str = ""


def submission(typed: Typed, plan: PlanFile | None = None, parameters: Mapping[str, Any] | None = None) -> Submission:
    """What to submit. Raises `InvalidArgument` naming the option that is wrong. `plan` is the file, if it was read;
    `parameters` are those of the template, if any were typed.
    """
    if (typed.goal and typed.plan is not None) or not (typed.goal or typed.plan or typed.template):
        raise InvalidArgument.of_field("--goal, --plan", "give exactly one of them, or --template alone")
    plan = plan or plan_file(typed)
    return Submission(
        goal=typed.goal,
        plan=plan.value if plan is not None else None,
        input=read_json(typed.input.encode(), "--input") if typed.input else None,
        documents=[_document(path) for path in typed.documents],
        paths=[Path(source).expanduser().absolute() for source in typed.sources],
        priority=typed.priority,
        labels=_labels(typed.labels),
        request_id=typed.request_id or None,
        deadline_ms=_deadline_ms(typed.deadline) if typed.deadline else 0,
        template=typed.template,
        budget=budget(typed.max_cost_usd, typed.on_limit),
        policy=_policy(typed.policy) if typed.policy is not None else None,
        start_time=start_time(typed.start_at) if typed.start_at else None,
        parameters=parameters,
    )


def task_filter(typed: TypedFilter) -> TaskFilter:
    """The tasks that are meant. Raises `InvalidArgument` naming the option that is wrong."""
    return TaskFilter(
        states=typed.states,
        labels=_labels(typed.labels),
        agent=typed.agent,
        template=typed.template,
        created_from=moment(typed.since, "--since") if typed.since else None,
        created_until=moment(typed.until, "--until") if typed.until else None,
    )


def span_ms(typed: str, option: str) -> int:
    """Milliseconds of a span such as 90s, 10m, 1h30m or 2d. Raises `InvalidArgument`."""
    parts = _SPAN_PART.findall(typed)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != typed:
        raise InvalidArgument.of_field(option, f"{typed!r} is no span of time such as 90s, 10m, 1h30m or 2d")
    return sum(round(float(number) * _UNIT_MS[unit]) for number, unit in parts)


def moment(typed: str, option: str) -> datetime:
    """The time that was typed: ISO 8601, local unless it says otherwise, or a span of time ago.

    Raises `InvalidArgument`.
    """
    try:
        if _SPAN_PART.match(typed):
            return datetime.now(UTC) - timedelta(milliseconds=span_ms(typed, option))
        return datetime.fromisoformat(typed).astimezone(UTC)
    except (ValueError, OverflowError, InvalidArgument):
        told = f"{typed!r} is neither a time such as 2026-11-24T09:30 nor a span such as 2h, for 2 hours ago"
        raise InvalidArgument.of_field(option, told) from None


def start_time(typed: str, option: str = "--start-at") -> datetime:
    """The time that was typed: ISO 8601, local unless it says otherwise, or a span from now such as +2h.

    Raises `InvalidArgument`.
    """
    try:
        if typed.startswith("+"):
            return datetime.now(UTC) + timedelta(milliseconds=span_ms(typed[1:], option))
        return datetime.fromisoformat(typed).astimezone(UTC)
    except (ValueError, OverflowError, InvalidArgument):
        told = f"{typed!r} is neither a time such as 2026-11-24T09:30 nor a span such as +2h, for in 2 hours"
        raise InvalidArgument.of_field(option, told) from None


def microusd(typed: str, option: str) -> int:
    """Millionths of a US dollar of an amount such as 5.00. Raises `InvalidArgument`."""
    if not _AMOUNT.fullmatch(typed):
        told = f"{typed!r} is no amount of US dollars such as 5.00, with at most 6 decimals and up to 1000000"
        raise InvalidArgument.of_field(option, told)
    dollars, _, rest = typed.partition(".")
    found = int(dollars) * 1_000_000 + int(rest.ljust(6, "0"))
    if not 1 <= found <= MAX_BUDGET_MICROUSD:
        raise InvalidArgument.of_field(option, f"{typed} is out of range: 0.000001 to {MAX_BUDGET_MICROUSD // 10**6}")
    return found


def limit_microusd(typed: str, option: str) -> int:
    """As `microusd`, and 0 for none. Raises `InvalidArgument`."""
    return 0 if typed == "none" else microusd(typed, option)


def _deadline_ms(typed: str) -> int:
    deadline_ms = span_ms(typed, "--deadline")
    if deadline_ms == 0:  # to the gateway 0 means no deadline at all, the opposite of what was typed
        raise InvalidArgument.of_field("--deadline", f"{typed!r} leaves no time; leave the option out for no deadline")
    return deadline_ms


def split_sources(values: Sequence[str]) -> list[str]:
    """The sources of one or more `--sources a,b` options."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def plan_file(typed: Typed) -> PlanFile | None:
    """The plan file that was named, read; None if none was. Raises `InvalidArgument` with all that is wrong in it."""
    if typed.plan is None:
        return None
    if str(typed.plan) == str(typed.policy) == "-":
        raise InvalidArgument.of_field("--plan, --policy", "cannot both be read from stdin: put one into a file")
    return read_plan_file(*file_text(typed.plan, "--plan"))


def file_text(path: Path, option: str) -> tuple[bytes, str]:
    """What a file holds, `-` being stdin, and what to call it. Raises `InvalidArgument`."""
    if str(path) == "-":
        return sys.stdin.buffer.read(), "stdin"
    return _read(path, option), str(path)


def budget(max_cost_usd: str, on_limit: BudgetAction | None) -> Budget | None:
    """The budget that options name, None without them. Raises `InvalidArgument`."""
    if max_cost_usd:
        return Budget(microusd(max_cost_usd, "--max-cost-usd"), on_limit or BudgetAction.STOP)
    if on_limit is not None:
        raise InvalidArgument.of_field("--on-limit", "goes with --max-cost-usd: give that too")
    return None


def _policy(path: Path) -> Mapping[str, Any]:
    text = sys.stdin.buffer.read() if str(path) == "-" else _read(path, "--policy")
    policy = read_json(text, "--policy")
    if not isinstance(policy, dict):
        raise InvalidArgument.of_field("--policy", f'{path} is no policy: write {{"allowed_agents": [...]}}')
    return policy


def read_json(text: bytes, option: str) -> Any:
    """The value of JSON text. Raises `InvalidArgument`."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument.of_field(option, f"is not JSON: {error}") from error


def _document(path: Path) -> Document:
    suffix = path.suffix.lower()
    media_type = _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(path.name)[0] or _TEXT
    return Document(name=str(path), media_type=media_type, data=_read(path, "--document"))


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument.of_field(option, f"{path} cannot be read: {error.strerror}") from error


def _labels(typed: Sequence[str]) -> Mapping[str, str]:
    labels: dict[str, str] = {}
    for label in typed:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise InvalidArgument.of_field("--label", f"{label!r} is not of the form key=value")
        labels[key] = value
    return labels
