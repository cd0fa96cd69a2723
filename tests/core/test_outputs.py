"""What a task returns is JSON, whichever of its last steps ran."""

from __future__ import annotations

import json

import pytest

from waybill.core.outputs import joined_outputs


@pytest.mark.parametrize(
    ("named", "returned"),
    [
        ([("a", b"5")], 5),
        ([("a", b"")], None),
        ([("a", b'{"b":1}'), ("c", b"[]")], {"a": {"b": 1}, "c": []}),
        ([("a", b""), ("c", b"true")], {"a": None, "c": True}),
        ([("a", b""), ("c", b"")], {"a": None, "c": None}),
    ],
)
def test_a_skipped_step_counts_with_null(named: list[tuple[str, bytes]], returned: object) -> None:
    assert json.loads(joined_outputs(named)) == returned
