"""JSON logs: one object a line on stderr, with the trace id of the current span.

Keys have one meaning everywhere: ts, level, service, event, task, step, agent, attempt, status, trace_id.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from opentelemetry import trace
from structlog.types import EventDict, FilteringBoundLogger, Processor

_FIRST_KEYS = ("ts", "level", "service", "event")


def configure(service: str, level: str = "INFO") -> None:
    """Send the process's logs, those of libraries too, to stderr as JSON. `level` is a name such as "INFO"."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _ServiceName(service),
        _add_trace_id,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _order_keys, structlog.processors.JSONRenderer(default=str)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _order_keys,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    # Some libraries set a level of their own, so the handler has to hold them too.
    handler.setLevel(max(number, logging.WARNING))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(handler.level)


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of a module; `name` appears under the key `module`. Usable before `configure` was called."""
    logger: FilteringBoundLogger = structlog.get_logger(module=name)
    return logger


class _ServiceName:
    """Processor that adds which service speaks."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = self._service
        return event


def _add_trace_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", trace.format_trace_id(context.trace_id))
    return event


def _order_keys(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Put the keys that every line has first, so that a person can read a page of lines."""
    ordered: EventDict = {key: event.pop(key) for key in _FIRST_KEYS if key in event}
    ordered.update(event)
    return ordered
