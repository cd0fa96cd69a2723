"""Answers of a certain form."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_answers import instance_of
from pydantic import BaseModel, Field

from waybill.errors import Permanent
from waybill.models.output import Form, Misfit


class Claim(BaseModel):
    text: str
    sources: list[int] = Field(default_factory=list, description="Numbers of sources")
    kind: Literal["fact", "guess"] = "fact"
    note: str | None = None


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Loose(BaseModel):
    labels: dict[str, str]


class Short(BaseModel):
    text: str = Field(max_length=5)


@pytest.mark.parametrize("output", [Claim, list[Claim], Claim | Tree, Tree, Literal["a", "b"], int, list[str]])
def test_given_a_type_that_can_be_enforced_when_made_a_form_then_it_keeps_to_what_providers_take(output: Any) -> None:
    form = Form.of(output)

    schema = json.loads(form.schema)
    assert form.strict
    assert schema["type"] == "object"
    objects = [part for part in walk(schema) if part.get("type") == "object"]
    assert objects
    for part in objects:
        assert part["additionalProperties"] is False
        assert sorted(part["required"]) == sorted(part["properties"])
    assert not any("default" in part for part in walk(schema) if "type" in part or "$ref" in part)


@pytest.mark.parametrize("output", [Loose, Short, {"type": "object"}, dict[str, int], {"type": "object", "not": {}}])
def test_given_a_type_that_cannot_be_enforced_when_made_a_form_then_it_is_only_checked(output: Any) -> None:
    assert not Form.of(output).strict


@pytest.mark.parametrize("output", [Claim, list[Claim], Tree, Loose, Short, int, dict[str, int]])
def test_given_what_fits_the_sent_schema_when_read_then_it_is_of_the_type(output: Any) -> None:
    form = Form.of(output)
    sent = json.loads(form.schema)
    value = instance_of(sent)
    jsonschema.validate(value, sent)

    assert form.read(json.dumps(value)) is not None
    assert form.read(f"```json\n{json.dumps(value)}\n```") is not None


@pytest.mark.parametrize(
    ("output", "text", "told"),
    [
        (Claim, "Sure!", "not JSON"),
        (Claim, "[1]", "answer"),
        (Claim, '{"text": 5}', "text"),
        (Claim, '{"text": "x", "sources": [0.5]}', "sources.0"),
        (Claim, '{"text": NaN}', "NaN"),
        (list[int], "[1]", "value"),
        (list[int], '{"value": [1, "x"]}', "1: "),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, '{"a": 1}', "a: must be of type string"),
        (Claim, "[" * 100_000, "not JSON"),
    ],
)
def test_given_what_does_not_fit_when_read_then_the_problem_is_told(output: Any, text: str, told: str) -> None:
    with pytest.raises(Misfit, match=told):
        Form.of(output).read(text)


@pytest.mark.parametrize("output", [{"type": "nothing"}, object(), {"$ref": "https://example.org/x"}, {"a": object()}])
def test_given_what_is_no_form_when_made_one_then_the_error_says_so(output: Any) -> None:
    with pytest.raises(Permanent) as failed:
        Form.of(output)

    assert failed.value.reason == "CHAT_INVALID"


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.text(), inner), max_leaves=10))  # fmt: skip
def test_given_any_json_when_read_then_it_fits_or_is_a_misfit(value: Any) -> None:
    for output in (Claim, list[Claim], {"type": "object", "required": ["a"]}):
        form = Form.of(output)
        with contextlib.suppress(Misfit):
            form.read(json.dumps(value))


def walk(value: Any) -> list[dict[str, Any]]:
    """All objects in a schema."""
    if isinstance(value, dict):
        return [value, *(part for inner in value.values() for part in walk(inner))]
    return [part for inner in value for part in walk(inner)] if isinstance(value, list) else []
