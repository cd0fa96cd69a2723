"""What is taken for fitting at a glance fits by every keyword, and plain inputs are taken so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from waybill.core.plain_schemas import glance_of
from waybill.core.schema import AnyText, AnyValue

TYPES = ["string", "integer", "number", "boolean", "null", "array", "object"]
names = st.sampled_from("abc")
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
            "properties": st.dictionaries(names, inner, max_size=3),
            "required": st.lists(names, max_size=2, unique=True),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "title": st.text(max_size=3),
            "default": scalars,
            "minLength": st.integers(0, 3),
            "maximum": st.integers(-3, 3),
            "minProperties": st.integers(0, 2),
            "uniqueItems": st.booleans(),
            "enum": st.lists(scalars, min_size=1, max_size=2),
            "not": inner,
        },
    )


schemas: st.SearchStrategy[Any] = st.recursive(st.booleans() | st.just({}), _schemas, max_leaves=6)


@given(schemas, values)
def test_what_is_taken_for_fitting_fits(schema: Any, value: Any) -> None:
    if glance_of(schema)(value):
        assert list(Draft202012Validator(schema).iter_errors(value)) == []


@pytest.mark.parametrize("unknown", [AnyValue("${a}"), AnyText("x ${a}"), {"n": AnyValue("${a}")}, [AnyValue("${a}")]])
def test_what_is_not_known_yet_is_not_taken_for_a_text(unknown: Any) -> None:
    for schema in ({"type": ["string", "object", "array"], "maxLength": 1}, {"type": "string"}):
        assert not glance_of(schema)(unknown)
    assert not glance_of({"properties": {"n": {"type": "string"}}})({"n": AnyValue("${a}")})


def test_the_inputs_of_plain_agents_are_seen_at_a_glance() -> None:
    schema = {
        "title": "echo",
        "type": "object",
        "properties": {
            "n": {"title": "N", "type": "integer"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["n"],
        "additionalProperties": False,
    }
    look = glance_of(schema)
    assert look({"n": 1, "note": None, "tags": ["a"]})
    others: list[Any] = [{}, {"n": "1"}, {"n": True}, {"n": 1, "tags": [1]}, {"n": 1, "other": 2}, [], None]
    for misfit in others:
        assert not look(misfit)
