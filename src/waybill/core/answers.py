"""Whether what a person answers fits the question that was asked."""

from __future__ import annotations

from functools import reduce

import msgspec

from waybill.core.references import below
from waybill.core.schema import misfits
from waybill.errors import InvalidArgument, Violation

_MISFITS_TOLD = 20


def check_answer(schema: str, answer: bytes) -> None:
    """Raises `InvalidArgument`, with every field that does not fit, for an answer, JSON text, that is refused."""
    problems = misfits(schema, msgspec.json.decode(answer))[:_MISFITS_TOLD]
    found = [Violation(reduce(below, path, "answer"), problem) for path, problem in problems]
    if found:
        shown = "; ".join(f"{violation.field}: {violation.description}" for violation in found[:3])
        raise InvalidArgument(f"the answer does not fit the question: {shown}", found)
