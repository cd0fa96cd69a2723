"""References in inputs: what they resolve to, how they are escaped, and what they may never do."""

import contextlib
import json

import jmespath
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.core import references
from waybill.core.references import Reference, escape, parse, references_of, resolve, unmet
from waybill.errors import Permanent

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def as_json(value: object) -> bytes:
    return msgspec.json.encode(value)


def resolved(value: object, **inputs: object) -> object:
    given_inputs = {name.replace("_", "-"): as_json(item) for name, item in inputs.items()}
    return json.loads(resolve(as_json(value), given_inputs))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${research}", {"documents": [{"title": "Tides", "pages": 12}], "x-rate": 0.5}),
        ("${research.documents[0].title}", "Tides"),
        ("${research.documents[0].pages}", 12),
        ('${research."x-rate"}', 0.5),
        ("${ research.documents[].title }", ["Tides"]),
        ("${research.documents | length(@)}", 1),
        ("${research.{first: documents[0].title}}", {"first": "Tides"}),
        ("${research.missing || 'none'}", "none"),
        ("about ${research.documents[0].title}!", "about Tides!"),
        ("${research.documents[0].title}: ${research.documents[0].pages} pages", "Tides: 12 pages"),
        ("see ${research.documents}", 'see [{"title":"Tides","pages":12}]'),
        ("costs $5, $${research} stays", "costs $5, ${research} stays"),
        ("no reference at all", "no reference at all"),
    ],
)
def test_a_reference_becomes_what_it_refers_to(written: str, expected: object) -> None:
    research = {"documents": [{"title": "Tides", "pages": 12}], "x-rate": 0.5}
    assert resolved({"q": [written]}, research=research) == {"q": [expected]}


def test_step_names_may_hold_hyphens_and_the_task_is_a_root() -> None:
    value = {"a": "${retrieve-1.passages}", "b": "${task.goal}"}
    expected = {"a": [1, 2], "b": "why?"}
    assert resolved(value, retrieve_1={"passages": [1, 2]}, task={"goal": "why?", "input": None}) == expected


def test_given_no_reference_when_resolved_then_the_bytes_are_the_very_same() -> None:
    untouched = b'{ "n": 1.50, "text": "$5 {x}" }'
    assert resolve(untouched, {}) is untouched


def test_a_reference_behind_a_json_escape_is_found() -> None:
    assert resolve(b'{"q":"\\u0024{a}"}', {"a": b"7"}) == b'{"q":7}'


def test_a_whole_value_passes_through_digit_for_digit() -> None:
    assert (
        resolve(b'["${a}"]', {"a": b'{"n":12345678901234567890,"x":1.10}'}) == b'[{"n":12345678901234567890,"x":1.10}]'
    )


def test_what_was_put_in_is_not_resolved_again() -> None:
    assert resolved(["${a}", "x ${a}"], a="${b}", b="secret") == ["${b}", "x ${b}"]


def test_keys_are_never_references() -> None:
    assert resolved({"${a}": "${a}"}, a=1) == {"${a}": 1}


def test_a_step_that_returned_null_can_be_passed_on_whole() -> None:
    assert resolved({"q": "${a}"}, a=None) == {"q": None}


@pytest.mark.parametrize(
    ("written", "reason", "told"),
    [
        ("${a.b}", "REFERENCE_UNRESOLVED", "${a.b} leads to nothing"),
        ("${gone.b}", "REFERENCE_UNRESOLVED", "gone has no output"),
        ("text ${nothing}", "REFERENCE_UNRESOLVED", "is null"),
        ("${a | abs('x')}", "REFERENCE_UNRESOLVED", "cannot be applied"),
        ("${a | no_such_function(@)}", "REFERENCE_UNRESOLVED", "no_such_function"),
        ("${a | to_number('nan')}", "REFERENCE_UNRESOLVED", "a number that JSON cannot hold"),
        ("${a.b", "REFERENCE_MALFORMED", "is not closed"),
        ("${}", "REFERENCE_MALFORMED", "begins with no step name"),
        ("${Research}", "REFERENCE_MALFORMED", "begins with no step name"),
        ("${length(a)}", "REFERENCE_MALFORMED", "${step | length(@)}"),
        ("${a..b}", "REFERENCE_MALFORMED", "is not JMESPath"),
        ("${a." + "b" * 2_000 + "}", "REFERENCE_MALFORMED", "within 1000 characters"),
        ("${a" + "[?(" * 300 + "}", "REFERENCE_MALFORMED", "is not JMESPath"),
    ],
)
def test_a_reference_that_leads_nowhere_fails_for_good_and_is_named(written: str, reason: str, told: str) -> None:
    with pytest.raises(Permanent) as raised:
        resolved({"q": written}, a={"x": 1}, nothing=None)
    assert raised.value.reason == reason
    assert told in raised.value.message


def test_an_input_that_grows_without_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "MAX_RESOLVED_BYTES", 1_000)
    with pytest.raises(Permanent, match="refer to less") as raised:
        resolved(["${a}"] * 11, a="x" * 98)
    assert raised.value.reason == "INPUT_TOO_LARGE"


def test_references_are_listed_in_order_of_appearance() -> None:
    value = {"q": "${b.x} and ${a}", "list": [{"deep": "${b.x}"}], "n": 1, "escaped": "$${c}"}
    assert references_of(value) == [
        Reference("b", "b.x", "@.x"),
        Reference("a", "a", "@"),
        Reference("b", "b.x", "@.x"),
    ]


@given(st.text(alphabet="$${}ab. ") | st.text())
def test_an_escaped_text_stands_for_itself(text: str) -> None:
    assert "".join(str(part) for part in parse(escape(text))) == text
    assert references_of(escape(text)) == []
    assert resolved([escape(text), escape(text) + " ${a}"], a="!") == [text, text + " !"]


@given(JSON_VALUES, st.sampled_from(["", ".b", "[0]", ".b[0]", " | @", "[*]", " | type(@)"]))
def test_a_lone_reference_gives_the_same_typed_value_as_a_plain_lookup(value: object, rest: str) -> None:
    root = {"b": value} if rest.startswith(".b") else [value] if rest == "[0]" else value
    expected = jmespath.search(f"@{rest}", root)
    if expected is None and rest:
        with pytest.raises(Permanent):
            resolved(["${a" + rest + "}"], a=root)
    else:
        assert as_json(resolved(["${a" + rest + "}"], a=root)) == as_json([expected])


@given(
    JSON_VALUES | st.text(alphabet="${}ab.[]|@'\"?*(), 0").map(lambda text: "${a" + text + "}"),
    st.binary() | JSON_VALUES.map(as_json),
)
def test_resolve_never_raises_anything_but_permanent(value: object, output: bytes) -> None:
    with contextlib.suppress(Permanent):
        resolve(as_json(value), {"a": output})


@given(st.binary().map(lambda junk: junk + b"${a}"))
def test_resolve_of_any_bytes_never_raises_anything_but_permanent(junk: bytes) -> None:
    with contextlib.suppress(Permanent):
        resolve(junk, {"a": b"1"})


def test_depth_is_bounded_on_both_sides() -> None:
    for nested in (b"[" * 5_000, b"[" * 200 + b'"${a}"' + b"]" * 200):
        with pytest.raises(Permanent):
            resolve(nested + b"${", {"a": b"1"})
    with pytest.raises(Permanent):
        resolve(b'["${a.b}"]', {"a": b"[" * 5_000 + b"]" * 5_000})


@pytest.mark.parametrize(
    ("path", "root", "why"),
    [
        ("@.ok", b'{"ok": true}', ""),
        ("@.n", b'{"n": 0}', ""),
        ("@", b"", "leads to nothing"),
        ("@ == `null`", b"", ""),
        ("@.ok", b'{"ok": null}', "leads to nothing"),
        ("@.ok", b'{"ok": false}', "is false or empty"),
        ("@", b'""', "is false or empty"),
        ("@", b"[]", "is false or empty"),
        ("@", b"{}", "is false or empty"),
        ("length(@)", b"5", "cannot be applied: "),
        ("@", b"no json", "cannot be applied: "),
    ],
)
def test_a_condition_holds_unless_it_leads_to_nothing_or_is_false(path: str, root: bytes, why: str) -> None:
    found = unmet(path, root)
    assert found.startswith(why)
    assert bool(found) == bool(why)
