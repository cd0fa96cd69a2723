"""The span of one batch that came: a trace of its own, linked to those of the tasks whose steps are in it."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context

from waybill.ledger import keys
from waybill.ledger.records import Grant
from waybill.telemetry import conventions, tracing
from waybill.telemetry.tracing import TaskTrace

MAX_LINKS = 128
"""Most steps that one batch is linked to."""


def trace_receipt(grants: Sequence[Grant], begun_ns: int) -> None:
    """Tell of an exchange that brought steps, if the trace of one of them is recorded; by agent, as queues are."""
    for agent in {grant.agent for grant in grants}:
        own = [grant for grant in grants if grant.agent == agent]
        found = (tracing.link_to(TaskTrace.read(grant.traceparent).traceparent) for grant in own)
        links = [link for link in found if link is not None][:MAX_LINKS]
        if not links:
            continue
        attributes: dict[str, str | int] = {
            conventions.MESSAGING_DESTINATION: agent,
            conventions.MESSAGING_GROUP: keys.GROUP,
        }
        if len(own) > 1:
            attributes[conventions.MESSAGING_COUNT] = len(own)
        tracing.begin(
            conventions.RECEIVE, agent, attributes=attributes, parent=Context(), links=links, start_ns=begun_ns
        ).end()
