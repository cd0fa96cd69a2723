"""YAML and JSON files become the same values, with the line of each part, and nothing but values."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_values import values

from waybill.core.written import Unreadable, read_written


def read(text: str) -> Any:
    return read_written(text.encode()).value


@given(values)
@settings(max_examples=100, deadline=None)
def test_json_is_read_as_json(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent="\t")):
        assert read(text) == value


@pytest.mark.parametrize("text", ["on", "no", "y", "2020-01-01", "1.0.0", "007", "0x1f", "1_000", ".inf", "=", "12:30"])
def test_what_looks_like_a_text_in_yaml_is_one(text: str) -> None:
    assert read(f"value: {text}\n{text}: 1") == {"value": text, text: 1}


def test_constants_and_numbers_are_those_of_json() -> None:
    text = "[null, ~, true, False, 0, -12, 1.5, 1e3, 'null', \"5\"]\n"
    assert read(f"value: {text}")["value"] == [None, None, True, False, 0, -12, 1.5, 1000.0, "null", "5"]


def test_a_key_in_quotes_is_a_text_whatever_it_says() -> None:
    assert read('"<<": 1') == {"<<": 1}


def test_an_anchor_may_be_used_again() -> None:
    assert read("a: &again {x: [1]}\nb: *again") == {"a": {"x": [1]}, "b": {"x": [1]}}


def test_every_part_has_its_line() -> None:
    block = read_written(b"steps:\n- name: a\n  input:\n    odd key: 1\n- name: b\n")
    lines = {"": 1, "steps": 1, "steps[0]": 2, 'steps[0].input["odd key"]': 4, "steps[1].name": 5}
    assert {path: block.line_of(path) for path in lines} == lines
    assert block.line_of("steps[1].nothing.at[3].all") == 5
    written = read_written(b'{"steps": [\n {"name": "a"},\n\n {"name": "b,}",\n  "input": {"odd key": [1,\n 2]}}]}')
    lines = {"steps[0].name": 2, "steps[1].name": 4, "steps[1].input": 5, 'steps[1].input["odd key"][1]': 6}
    assert {path: written.line_of(path) for path in lines} == lines


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "is empty"),
        ("a: 1\nb: 2\na: 3\n", 3, "is written twice"),
        ('{"a": 1,\n "b": {"c": 1,\n "c": 2}}', 3, "is written twice"),
        ("a: !!python/object/apply:os.system [id]", 1, "has the tag"),
        ("a: !!str 5", 1, "has the tag"),
        ("a: 1\n--- \nb: 2", 2, "second document"),
        ("a: &a\n  b: *a", 2, "which holds it"),
        ("a: *nowhere", 1, "no such anchor"),
        ("a: &x {b: 1}\nc:\n  <<: *x", 3, "merging"),
        ("? [1]\n: 2", 1, "a key must be a text"),
        ("a: 1e999", 1, "cannot hold"),
        ("[1e999]", 1, "cannot hold"),
        ("[NaN]", 1, "cannot hold"),
        (f"a: {'9' * 1000}", 1, "digits"),
        (f"[{'9' * 10_000}]", 1, "cannot hold"),
        ("a: 1\n b: 2", 2, "is not YAML"),
        ('{"a": 1,\n "b" 2}', 2, "is not JSON"),
        ("[" * 100_000, 1, "deep"),
        ("a: " + "[" * 100_000, 1, "deep"),
        ('{"a":' * 300 + "1" + "}" * 300, 1, "deep"),
        ("a: \x07", 1, "character"),
        (BOMB, 7, "anchors"),
    ],
)
def test_what_is_no_plain_value_is_refused_where_it_stands(text: str, line: int, problem: str) -> None:
    with pytest.raises(Unreadable, match=problem) as refused:
        read(text)
    assert refused.value.line == line


def test_bytes_that_are_no_text_are_refused_with_their_line() -> None:
    with pytest.raises(Unreadable, match="UTF-8") as refused:
        read_written(b"a: 1\nb: \xff")
    assert refused.value.line == 2


pieces = st.sampled_from(
    [*"{}[]:,-&*!|>'\"#%@` \n\t\\", "\n  ", "a", "1", "<<", "---", "...", "\u2028", "\\ud800", "$"]
)


@given(st.binary(max_size=40) | st.lists(pieces, max_size=30).map("".join).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_whatever_a_file_holds_it_is_read_or_refused_with_a_line(data: bytes) -> None:
    with contextlib.suppress(Unreadable):
        written = read_written(data)
        assert written.line_of("anything.at[3].all") >= 1


@given(values)
@settings(max_examples=60, deadline=None)
def test_whatever_a_dumper_writes_is_read_or_refused_in_order(value: Any) -> None:
    with contextlib.suppress(Unreadable):
        assert msgspec.json.encode(read(yaml.safe_dump(value, allow_unicode=True)))
