"""No span is exported before those above it in its process, and none whose parent was left out."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from waybill.telemetry.exporting import MAX_HELD, ParentsFirst


class Kept(SpanProcessor):
    """Keeps what is handed on."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def tracer() -> tuple[trace.Tracer, Kept]:
    kept, provider = Kept(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(ParentsFirst(kept))
    return provider.get_tracer("test"), kept


def test_what_ended_below_an_open_span_is_sent_after_it() -> None:
    made, kept = tracer()
    with made.start_as_current_span("top"):
        with made.start_as_current_span("middle"), made.start_as_current_span("low"):
            pass
        assert kept.spans == []
    assert [span.name for span in kept.spans] == ["top", "middle", "low"]


def test_below_what_was_too_much_nothing_is_sent() -> None:
    made, kept = tracer()
    with made.start_as_current_span("top"):
        for _ in range(MAX_HELD // 2 + 1):
            with made.start_as_current_span("middle"), made.start_as_current_span("low"):
                pass
    sent = {span.context.span_id for span in kept.spans}
    assert len(sent) > MAX_HELD // 2
    assert all(span.parent is None or span.parent.span_id in sent for span in kept.spans)


def test_what_ends_after_its_top_is_sent_at_once() -> None:
    made, kept = tracer()
    with made.start_as_current_span("top"):
        late = made.start_span("late")
    late.end()
    assert [span.name for span in kept.spans] == ["top", "late"]
