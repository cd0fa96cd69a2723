"""The page of reasons: why calls are refused, and why steps and tasks fail."""

from __future__ import annotations

from collections.abc import Iterator

import reasons
from tables import code, table
from waybill_gateway.http_errors import status_of
from waybill_gateway.problems import PROBLEMS

_INTRODUCTION = """
# Reasons

Whatever goes wrong has a reason: a stable name in upper snake case, beside a message for people. A program decides by
the reason, or by the gRPC code or HTTP status where it does not know the reason; a later release may add some.

## Refused calls

Over gRPC the reason stands in `google.rpc.ErrorInfo` with the domain `waybill`, over HTTP in the member `reason` of the
problem, whose `type` leads to this list at the gateway's own page `/docs/problems`.

"""

_FAILURES = """
## Failed steps and tasks

The `failure` of a step or a task tells a reason too, and an agent of your own may raise any other. A failure marked
final is not tried again, whatever the step's retry policy says; where nothing is marked it depends on what failed.

"""


_FINAL = {True: "yes", False: "no"}


def page() -> str:
    """The page."""
    refused = table(("Reason", "gRPC code", "HTTP", "What it means", "What to do"), _refusals())
    return "".join([_INTRODUCTION, refused, _FAILURES, table(("Reason", "Final", "Such as"), _failures())])


def _refusals() -> Iterator[tuple[str, str, str, str, str]]:
    codes = {found.reason: found.code for found in reasons.raised() if not found.of_agent}
    for reason, problem in PROBLEMS.items():
        if kind := codes.get(reason):
            yield code(reason), code(kind.name), str(status_of(kind, reason)), f"{problem.title}.", problem.remedy


def _failures() -> Iterator[tuple[str, str, str]]:
    failures = [found for found in reasons.raised() if found.of_agent]
    for reason in sorted({found.reason for found in failures}):
        same = [found for found in failures if found.reason == reason]
        finals = {found.final for found in same if found.final is not None}
        message = max((found.message for found in same), key=lambda text: len(text.replace("…", "")))
        yield code(reason), _FINAL[finals.pop()] if len(finals) == 1 else "", message
