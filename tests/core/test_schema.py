"""Inputs against schemas while the values behind references are unknown."""

import json
from collections.abc import Callable
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from waybill.core.keywords import Allowance
from waybill.core.schema import check_schema, misfits, with_unknowns
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


def refused(schema: object) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as raised:
        check_schema(json.dumps(schema))
    return raised.value


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"pattern": "(?=a)"}, "pattern"),
        ({"pattern": "("}, "pattern"),
        ({"pattern": "a{999}{999}{999}"}, "pattern"),
        ({"patternProperties": {"(": {}}}, "pattern"),
        ({"pattern": "a" * 1_001}, "over the limit of 1000"),
        ({"$ref": "#name"}, "refers to '#name'"),
        ({"$id": "http://["}, "uses $id"),
        ({"$dynamicRef": "#x"}, "uses $dynamicRef"),
        ({"unevaluatedProperties": False}, "uses unevaluatedProperties"),
        (reduce(lambda inner, _: {"not": inner}, range(100), {}), "nested more than 64 deep"),
        ({"required": [{"a": n} for n in range(500)]}, "not a JSON Schema"),
    ],
)
def test_a_callers_schema_that_has_no_bounded_check_is_refused(schema: object, told: str) -> None:
    assert told in refused(schema).message


def test_a_callers_schema_that_is_too_complex_is_refused() -> None:
    assert refused({"allOf": [{} for _ in range(15_000)]}).reason == "SCHEMA_COSTLY"


def doubling(levels: int, leaf: object) -> dict[str, object]:
    """A schema that looks at a value 2 ** levels times."""
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**steps, f"s{levels}": leaf}, "$ref": "#/$defs/s0"}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (doubling(18, {"type": "object"}), 1),
        (doubling(18, True), 1),
        ({"items": {"enum": list(range(10_000))}}, list(range(20_000))),
        ({"anyOf": [{"items": {"const": "x" * 60_000}}, {"items": {"const": "y"}}]}, [0] * 100_000),
        ({"allOf": [{"type": "string"}] * 4_000}, list(range(100_000))),
        (
            {"contains": {"contains": {"contains": {"const": 1}}}, "allOf": [{"contains": {"const": 1}}] * 3_000},
            [0] * 99,
        ),
    ],
)
def test_a_check_that_costs_too_much_is_given_up(schema: object, value: object) -> None:
    allowance = Allowance(50_000)
    with pytest.raises(InvalidArgument) as raised:
        misfits(json.dumps(schema), value, allowance)
    assert raised.value.reason == "SCHEMA_COSTLY"


@pytest.mark.parametrize(
    ("schema", "value", "fits"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 100_000 + "b", False),
        ({"patternProperties": {"^(a+)+$": False}}, {"a" * 50_000 + "b": 1}, True),
        ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, {"xa": 1}, True),
        ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, {"xa": 1, "y": 1}, False),
        ({"patternProperties": {"^x": {"type": "integer"}}}, {"xa": "no"}, False),
        ({"uniqueItems": True}, [{"n": n} for n in range(50_000)], True),
        ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}, None], True),
        ({"uniqueItems": True}, [{"a": [1]}, {"a": [1.0]}], False),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "^(a+)+$"}, "a" * 10_000 + "b", False),
    ],
)
def test_every_check_ends_whatever_the_value(schema: object, value: object, fits: bool) -> None:
    assert (misfits(json.dumps(schema), value) == []) is fits


def test_a_check_that_python_cannot_do_is_told() -> None:
    with pytest.raises(InvalidArgument, match="cannot be applied"):
        misfits('{"multipleOf":0.5}', 10**400)


def test_a_pattern_of_an_agent_that_cannot_be_run_here_is_left_to_the_agent() -> None:
    assert misfits('{"pattern":"(?=a)"}', "b") == []


def below(frames: int, check: Callable[[], None]) -> None:
    """Check something with so many frames of Python above it."""
    return below(frames - 1, check) if frames else check()


@pytest.mark.parametrize("schema", ['{"$ref":"#"}', '{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#"}]}}}'])
def test_a_schema_without_end_is_told_however_deep_the_stack_is_already(schema: str) -> None:
    for frames in range(0, 250, 7):
        with pytest.raises(InvalidArgument, match="no end"):
            below(frames, lambda: misfits(schema, {}))


def test_the_deepest_schema_is_checked_however_deep_the_stack_is_already() -> None:
    schema = '{"not":' * 63 + "{}" + "}" * 63
    for frames in range(0, 250, 50):
        below(frames, lambda: check_schema(schema))
