"""Instruments have names of one kind and labels that stay few."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from waybill.telemetry import metrics

INSTRUMENTS = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
UNBOUNDED = {"task", "step", "tenant", "worker", "path", "request_id", "trace_id"}


def test_no_label_grows_with_the_work():
    assert not [name for instrument in INSTRUMENTS for name in instrument._labelnames if name in UNBOUNDED]


def test_names_tell_the_project_and_times_are_in_seconds():
    for instrument in INSTRUMENTS:
        assert instrument._name.startswith(("waybill_", "grpc_server_"))
        assert not instrument._name.endswith(("_ms", "_milliseconds"))
        assert instrument._documentation.endswith(".")
