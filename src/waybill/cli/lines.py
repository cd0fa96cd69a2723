"""Owns events, and entries of logs, as text for people: one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from waybill.core.task import Event, Usage

_TEXT_CHARS = 200


def event_line(event: Event) -> str:
    """The event as one line: local time, type, step, then what else it tells."""
    time = datetime.fromtimestamp(event.time_ms / 1000).astimezone().strftime("%H:%M:%S.%f")[:-3]
    details = " ".join(_details(event))
    return f"{time} {event.type.value:<15} {details}".rstrip()


def log_line(line: str) -> str:
    """A line of a service's log: level, event and error of an entry, and what is no entry as it is."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(entry, dict) or "event" not in entry:
        return line
    told = [f"{entry.get('level', '')} {entry['event']}".strip()]
    return ": ".join([*told, str(entry["error"])] if entry.get("error") else told)


def printable(text: str, limit: int = _TEXT_CHARS) -> str:
    """The text on one line, shortened, with nothing in it that a terminal would obey."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def readable(text: str) -> str:
    """The text with its lines and indents, and nothing in it that a terminal would obey."""
    return "\n".join("".join(char if char.isprintable() else " " for char in line) for line in text.splitlines())


def output_text(output: Any) -> str:
    """What a task returned: its report, if it has one, or JSON."""
    report = output.get("report") if isinstance(output, dict) else None
    return report if isinstance(report, str) else json.dumps(output, indent=2, ensure_ascii=False)


def usage_text(usage: Usage) -> str:
    """Tokens and cost in words; empty if nothing was used."""
    if usage == Usage():
        return ""
    read = f" ({usage.cached_input_tokens} cached)" if usage.cached_input_tokens else ""
    written = f" ({usage.reasoning_tokens} reasoning)" if usage.reasoning_tokens else ""
    cost = usd_text(usage.cost_microusd)
    if usage.estimated_microusd:
        cost += f", of which {usd_text(usage.estimated_microusd)} is an upper estimate"
    return f"{usage.input_tokens} tokens in{read}, {usage.output_tokens} out{written}, {cost}"


def usd_text(microusd: int) -> str:
    """Millionths of a US dollar as dollars, exactly."""
    return f"${microusd // 1_000_000}.{microusd % 1_000_000:06d}"


def seconds_text(milliseconds: int) -> str:
    """A duration for people."""
    seconds = milliseconds / 1000
    return f"{seconds:.2f} s" if seconds < 60 else f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"


def count_of(number: int, what: str) -> str:
    """A number of things in words: 1 task, 2 tasks."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _details(event: Event) -> Iterator[str]:
    if event.step:
        yield event.step
    if event.attempt:
        yield f"attempt={event.attempt}"
    if event.call:
        yield f"call={event.call}"
    for name in ("agent", "worker", "model"):
        if getattr(event, name):
            yield f"{name}={getattr(event, name)}"
    if event.state is not None:
        yield event.state.value
    if event.step_state is not None:
        yield event.step_state.value
    if event.revision > 1:
        yield f"revision={event.revision}"
    if event.step_count:
        yield f"steps={event.step_count}"
    if event.fraction is not None:
        yield f"{event.fraction:.0%}"
    for name in ("wait_ms", "run_ms", "delay_ms", "elapsed_ms"):
        if getattr(event, name):
            yield f"{name}={getattr(event, name)}"
    if event.usage is not None and event.usage != Usage():
        yield f"({usage_text(event.usage)})"
    if event.message or event.text:
        yield f'"{printable(event.message or event.text)}"'
    if event.failure is not None:
        yield f"{event.failure.reason}: {printable(event.failure.message)}"
