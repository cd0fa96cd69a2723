"""Plans as JSON values that hypothesis makes up: valid ones, and ones with one thing wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = [f"step-{number}" for number in range(8)]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain_texts = st.one_of(
    texts,
    st.sampled_from(
        ["on", "no", "1e5", "007", "2020-01-01", "~", "", "0x1f", "- a", "a: b", "#", "<<", "\x85", "a\n b\n", "\u2028"]
    ),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    plain_texts,
)


def _literal(value: Any) -> Any:
    """The value with no reference in its texts."""
    if isinstance(value, str):
        return value.replace("${", "$")
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return value


values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_texts, inner, max_size=3), max_leaves=6
).map(_literal)

retries = st.fixed_dictionaries(
    {},
    optional={
        "max_attempts": st.integers(1, 100),
        "initial_backoff_ms": st.none() | st.integers(0, 3_600_000),
        "max_backoff_ms": st.none() | st.integers(0, 86_400_000),
        "multiplier": st.none() | st.floats(1.0, 10.0),
        "jitter": st.none() | st.floats(0.0, 1.0),
        "final_reasons": st.lists(st.sampled_from(["TIMEOUT", "AGENT_ERROR"]), max_size=2),
    },
)


@st.composite
def steps(draw: st.DrawFn, position: int) -> dict[str, Any]:
    """The step at a position, which may depend on those before it."""
    earlier = NAMES[:position]
    named = st.lists(st.sampled_from(earlier), max_size=3, unique=True) if earlier else st.just([])
    content = dict(draw(st.dictionaries(plain_texts, values, max_size=3)))
    for number, name in enumerate(draw(named)):
        content[f"from-{number}"] = draw(st.sampled_from([f"${{{name}}}", f"saw ${{{name}.items[0].title}}!"]))
    step = {"name": NAMES[position], "input": content, "after": draw(named)}
    conditions = st.builds("${{{}.ok}}".format, st.sampled_from(earlier)) if earlier else st.just("${task.input.ok}")
    common = {"when": st.lists(conditions, max_size=2), "allow_skipped": st.booleans()}
    if draw(st.booleans()):
        optional = {
            "retry": st.none() | retries,
            "run_timeout_ms": st.integers(1, 86_400_000),
            "queue_timeout_ms": st.integers(0, 10**9),
            "limits": st.lists(st.sampled_from(["gpu", "EU.west"]), max_size=2, unique=True),
        }
        return {**step, "agent": "echo", **draw(st.fixed_dictionaries({}, optional=common | optional))}
    asked = st.fixed_dictionaries(
        {"prompt": st.just("Is it good?")},
        optional={
            "answer_schema": st.sampled_from(
                [True, {}, {"type": ["string", "null", "object", "array", "number", "boolean"]}]
            ),
            "timeout_ms": st.integers(0, 10**9),
            "default_answer": values,
        },
    )
    return {**step, "question": draw(asked), **draw(st.fixed_dictionaries({}, optional=common))}


@st.composite
def plan_values(draw: st.DrawFn) -> dict[str, Any]:
    """A valid plan as a JSON value."""
    count = draw(st.integers(1, len(NAMES)))
    plan: dict[str, Any] = {"steps": [draw(steps(position)) for position in range(count)]}
    if draw(st.booleans()):
        plan["failure_policy"] = draw(st.sampled_from(["stop", "continue", "replan"]))
    return plan


WRONG: dict[str, list[Any]] = {
    "name": ["", "Not A Name", 5, None],
    "agent": [5, None, "Not An Agent"],
    "input": [5, [], "text"],
    "after": ["step-0", [5], None],
    "retry": [5, {"max_attempts": 0}, {"max_attempts": 101}, {"jitter": 2}, {"tries": 3}, {"final_reasons": ["no"]}],
    "run_timeout_ms": [0, -1, 86_400_001, "5", 1.5, None],
    "queue_timeout_ms": [-1, 10**12, "5", True],
    "question": [5, {}, {"prompt": ""}, {"prompt": "x", "timeout_ms": -1}, {"prompt": "x", "answer_schema": 5}],
    "when": ["${a.ok}", [5], None],
    "allow_skipped": [1, "yes", None],
    "limits": ["gpu", ["not a key"], ["gpu", "gpu"], [5]],
    "unknown": [None],
}


@st.composite
def broken_plan_values(draw: st.DrawFn) -> dict[str, Any]:
    """A plan as a JSON value with one thing wrong that does not take the rest of the plan to see."""
    plan = draw(plan_values())
    if draw(st.integers(0, 9)) == 0:
        wrong = draw(st.sampled_from([{"steps": []}, {}, {"steps": 5}, {**plan, "failure_policy": "never"}]))
        return dict(wrong)
    step = draw(st.sampled_from(plan["steps"]))
    field = draw(st.sampled_from(sorted(WRONG)))
    if field == "name" and draw(st.booleans()):
        del step["name"]
    else:
        step[field] = draw(st.sampled_from(WRONG[field]))
    return plan
