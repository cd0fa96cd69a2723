"""The page of metrics: every Prometheus instrument of the project."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from tables import code, table

from waybill.telemetry import metrics

_INTRODUCTION = """
# Metrics

Every service serves Prometheus metrics at `/metrics` on its metrics port (see [settings](settings.md)). Instruments are
the same in all services; those that a service has no use for stay empty. Labels are names of RPCs, routes, agents and
states, never of tasks, so their number is bounded.

The usual `process_*` and `python_*` metrics of a Python process are there besides.

Latency and cost of single tasks and steps are no Prometheus metrics: ask for them with `GetTaskMetrics` or
`GET /v1/tasks/{task}/metrics` (see the [API](api.md)).
"""


def page() -> str:
    """The page."""
    instruments = [value for value in vars(metrics).values() if isinstance(value, Counter | Gauge | Histogram)]
    rows = (
        (
            code(_name(item)),
            type(item).__name__.lower(),
            ", ".join(code(label) for label in item._labelnames),
            item._documentation,
        )
        for item in instruments
    )
    return _INTRODUCTION + "\n" + table(("Name", "Kind", "Labels", "Meaning"), rows)


def _name(item: Counter | Gauge | Histogram) -> str:
    return f"{item._name}_total" if isinstance(item, Counter) else str(item._name)
