"""What Python callers get wrong by type is an error of theirs that names the argument, not one of ours."""

from __future__ import annotations

from typing import Any

import pytest

from waybill.errors import InvalidArgument
from waybill.filters import TaskFilter
from waybill.resources import Submission


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("goal", 1),
        ("priority", "urgent"),
        ("labels", ["a"]),
        ("labels", {"a": 1}),
        ("documents", ["notes.md"]),
        ("deadline_ms", "10m"),
        ("paths", 7),
        ("template", None),
    ],
)
def test_given_a_submission_of_the_wrong_types_then_the_error_names_the_argument(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Submission(**{"goal": "why?", field: value}).spec()
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [("states", ["bogus"]), ("labels", ["a"]), ("agent", 1), ("created_from", "2026"), ("created_until", 5)],
)
def test_given_a_filter_of_the_wrong_types_then_the_error_names_the_argument(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        TaskFilter(**{field: value}).message()
    assert [violation.field for violation in caught.value.violations] == [field]
