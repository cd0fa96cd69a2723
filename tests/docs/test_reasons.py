"""What the catalogue of problems says is what the code gives as reasons."""

from __future__ import annotations

import runpy
from pathlib import Path

from waybill_gateway.problems import PROBLEMS

# An import would leave compiled code among the pages, which the main job answers from and would tell of.
raised = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "generate" / "reasons.py"))["raised"]

SAID_BY_ITS_STATUS = {"INTERNAL"}


def test_every_reason_of_a_refused_call_is_in_the_catalogue() -> None:
    """Whoever raises an error with a new reason says in `waybill_gateway.problems` what it means and what helps."""
    refusals = {found.reason for found in raised() if not found.of_agent}
    assert refusals - SAID_BY_ITS_STATUS - PROBLEMS.keys() == set()


def test_reasons_are_found_wherever_they_are_given() -> None:
    found = {(item.reason, item.of_agent): item for item in raised()}
    assert found["STORE_FULL", False].code.name == "RESOURCE_EXHAUSTED"
    assert found["SCHEMA_COSTLY", False].code.name == "INVALID_ARGUMENT"
    assert found["BODY_TOO_LARGE", False].code.name == "RESOURCE_EXHAUSTED"
    assert found["INPUT_INVALID", True].final
    assert found["QUEUE_TIMEOUT", True].message == "no worker took the step within its queue_timeout_ms"
    assert found["PROCESS_DIED", True].final is None


def test_no_two_problems_have_one_title() -> None:
    titles = [problem.title for problem in PROBLEMS.values()]
    assert len(titles) == len(set(titles))
