"""A trace context survives being written down, as it is between the gateway and the agent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from waybill.telemetry.tracing import context_from, current_traceparent, tracer


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 1))
def test_a_span_under_a_traceparent_belongs_to_its_trace(trace_id, span_id, flags):
    context = context_from(f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    with tracer().start_as_current_span("work", context=context):
        assert current_traceparent().split("-")[1] == f"{trace_id:032x}"


@given(st.text(max_size=60))
def test_a_malformed_traceparent_changes_nothing(text):
    span = trace.get_current_span(context_from(text))
    assert not span.get_span_context().is_valid


def test_without_a_span_there_is_no_traceparent():
    assert current_traceparent() == ""
