"""Inputs against schemas while the values behind references are unknown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from waybill.core.schema import misfits, with_unknowns
from waybill.errors import InvalidArgument

SCHEMA = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 3},
        "limit": {"type": "integer", "minimum": 1},
        "sections": {"type": "array", "items": {"$ref": "#/$defs/Section"}, "minItems": 1},
        "mode": {"enum": ["fast", "deep"]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "range": {"anyOf": [{"$ref": "#/$defs/Section"}, {"type": "null"}]},
        "one": {"oneOf": [{"type": "object", "required": ["a"]}, {"type": "array", "items": {"type": "integer"}}]},
        "set": {"type": "array", "uniqueItems": True},
    },
    "required": ["question"],
    "additionalProperties": False,
    "$defs": {"Section": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}},
}


def wrong(value: object, schema: object = SCHEMA) -> list[str]:
    """Paths of what does not fit."""
    found = misfits(json.dumps(schema), with_unknowns(value))
    return sorted("/".join(str(part) for part in path) for path, _ in found)


@pytest.mark.parametrize(
    "fitting",
    [
        {"question": "why?"},
        {"question": "${a.q}"},
        {"question": "${a}", "limit": "${a.n}", "sections": "${a.all}", "mode": "${a.m}", "range": "${b}"},
        {"question": "why?", "sections": ["${a}", {"title": "${b.t}"}, {"title": "x ${b.t}"}]},
        {"question": "?${a}", "mode": "${a}", "note": None},
        {"question": "why?", "one": ["${a}", 2]},
        {"question": "why?", "set": ["${a}", "${a}"]},
        {"question": "$${a}", "mode": "f${a}"},
    ],
)
def test_what_references_stand_for_may_be_anything(fitting: dict[str, object]) -> None:
    assert wrong(fitting) == []


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({}, [""]),
        ({"question": 5}, ["question"]),
        ({"question": "${a}", "limit": 0}, ["limit"]),
        ({"question": "${a}", "limit": "n ${a}"}, ["limit"]),
        ({"question": "why?", "sections": ["${a}", 3, {}]}, ["sections/1", "sections/2"]),
        ({"question": "why?", "sections": []}, ["sections"]),
        ({"question": "why?", "range": {"title": 5}}, ["range/title"]),
        ({"question": "why?", "range": 5}, ["range"]),
        ({"question": "why?", "mode": "slow"}, ["mode"]),
        ({"question": "why?", "extra": "${a}"}, [""]),
        ({"question": "why?", "set": [1, 1]}, ["set"]),
        ({"question": "$${"}, ["question"]),
    ],
)
def test_what_is_written_out_is_checked_even_next_to_references(value: dict[str, object], paths: list[str]) -> None:
    assert wrong(value) == paths


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["fast", "a", "title"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*SCHEMA["properties"], "title", "a"]), inner, max_size=5)
        ),
    )
)
def test_without_references_the_verdict_is_that_of_plain_json_schema(value: object) -> None:
    assert (wrong(value) == []) == Draft202012Validator(SCHEMA).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("{", "not JSON"),
        ('{"type": "strin"}', "not a JSON Schema"),
        ('{"$ref": "#/$defs/Gone"}', "Gone"),
        ('{"$ref": "https://schemas.invalid/x.json"}', "which is not in it"),
        ('{"$ref": "#"}', "no end"),
    ],
)
def test_a_schema_that_cannot_be_used_is_told_apart_and_never_fetched(schema: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told) as raised:
        list(misfits(schema, {}))
    assert raised.value.reason == "SCHEMA_INVALID"
