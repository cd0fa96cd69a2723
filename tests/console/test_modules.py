"""Modules of the console by themselves, run in the browser that they are made for."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from console_browser import Console

pytestmark = pytest.mark.asyncio(loop_scope="session")

STREAM = (
    "\ufeff: hello\nid: 1.aa\nevent: step_ready\ndata: {}\n\nid:2.bb\ndata:one\ndata: two\r\n\r\n"
    "event: unfinished\n\ndata\r\rid: 3\0x\ndata: \U0001d11e\n\ndata: lost"
)
MESSAGES = [
    {"id": "1.aa", "event": "step_ready", "data": "{}"},
    {"id": "2.bb", "event": "message", "data": "one\ntwo"},
    {"id": "2.bb", "event": "message", "data": ""},
    {"id": "2.bb", "event": "message", "data": "\U0001d11e"},
]


async def run(console: Console, module: str, script: str, given: Any = None) -> Any:
    """What a script returns that gets a module as `m` and something as `given`."""
    if not console.page.url.startswith(console.url):
        await console.open("#/agents")
    wrapped = f'async (given) => {{ const m = await import("./console/{module}.js"); {script} }}'
    return await console.page.evaluate(wrapped, given)


async def test_a_stream_of_events_is_read_the_same_however_it_is_cut(console: Console) -> None:
    fed = "const parser = new m.SseParser(); return given.flatMap((part) => parser.feed(part));"
    assert await run(console, "sse", fed, [STREAM]) == MESSAGES
    assert await run(console, "sse", fed, list(STREAM)) == MESSAGES
    for seed in range(10):
        cuts = sorted(random.Random(seed).sample(range(len(STREAM)), 12))
        parts = [STREAM[start:end] for start, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]
        assert await run(console, "sse", fed, parts) == MESSAGES


async def test_every_step_stands_right_of_what_it_needs_and_on_no_other(console: Console) -> None:
    drawn = """return given.map((plan) => {
        const sizes = {width: 100, height: 40, gapX: 30, gapY: 10};
        const {places, routes, width, height} = m.layout(plan, sizes);
        return {places: Object.fromEntries(places), routes, width, height};
    });"""
    plans = [_random_plan(random.Random(seed), 1 + seed * 7) for seed in range(15)]
    for plan, made in zip(plans, await run(console, "layout", drawn, plans), strict=True):
        places = made["places"]
        assert places.keys() == {vertex["id"] for vertex in plan}
        for vertex in plan:
            for need in vertex["needs"]:
                assert places[need]["x"] + 130 <= places[vertex["id"]]["x"]
        boxes = sorted((place["x"], place["y"]) for place in places.values())
        for (x, y), (next_x, next_y) in pairwise(boxes):
            assert x != next_x or next_y - y >= 49.99
            assert y - 20 >= -0.01
            assert y + 20 <= made["height"] + 0.01
        edges = {(need, vertex["id"]) for vertex in plan for need in vertex["needs"]}
        assert {(route["from"], route["to"]) for route in made["routes"]} == edges
        for route in made["routes"]:
            xs = [x for x, _ in route["points"]]
            assert xs == sorted(xs)
    cyclic = [{"id": "a", "needs": ["b"]}, {"id": "b", "needs": ["a"]}, {"id": "c", "needs": ["nowhere"]}]
    assert (await run(console, "layout", drawn, [cyclic, []]))[0]["places"].keys() == {"a", "b", "c"}


async def test_large_plans_are_folded_until_they_can_be_drawn(console: Console) -> None:
    folded = "return given.map((steps) => m.folded(steps, 20));"
    wide = [
        {"name": f"s{number}", "agent": f"a{number % 3}", "depends_on": [] if number < 3 else [f"s{number % 3}"]}
        for number in range(2_000)
    ]
    deep = [
        {"name": f"s{number}", "agent": "a", "depends_on": [f"s{number - 1}"] if number else []}
        for number in range(900)
    ]
    for steps, groups in zip([wide, deep], await run(console, "folding", folded, [wide, deep]), strict=True):
        assert 1 < len(groups) <= 20
        assert sorted(name for group in groups for name in group["members"]) == sorted(s["name"] for s in steps)
        ids = {group["id"] for group in groups}
        assert all(set(group["needs"]) <= ids - {group["id"]} for group in groups)
        group_of = {name: group for group in groups for name in group["members"]}
        for step in steps:
            for need in step["depends_on"]:
                assert (
                    group_of[need] is group_of[step["name"]] or group_of[need]["id"] in group_of[step["name"]]["needs"]
                )


async def test_streamed_text_counts_characters_as_the_server_does(console: Console) -> None:
    written = """const text = new m.StreamedText();
        return given.map(([piece, offset]) => (text.write(piece, offset), [text.value, text.length]));"""
    pieces = [["a𝄞", 0], ["b", 2], ["𝄞𝄞", 3], ["c", 4], ["new", 0]]
    seen = [["a𝄞", 2], ["a𝄞b", 3], ["a𝄞b𝄞𝄞", 5], ["a𝄞b𝄞c", 5], ["new", 3]]
    assert await run(console, "streamed", written, pieces) == seen


async def test_markdown_becomes_the_elements_that_it_means(console: Console) -> None:
    cases = {
        "# One\n\nTwo *three* **four** `five *six*`": "H2 P EM STRONG CODE",
        "- a\n- b\n  - c\n\n1. d\n2. e": "UL LI LI UL LI OL LI LI",
        "> quote\n\n---\n\n```py\nx = 1\n```": "BLOCKQUOTE P HR PRE CODE",
        "| a | b |\n| - | :-: |\n| c \\| d | e |": "DIV TABLE THEAD TR TH TH TBODY TR TD TD",
        "snake_case_name and 2 * 3 * 4 and a_b": "P",
        "***both*** ~~gone~~ \\*not\\*": "P STRONG EM S",
        "one  \ntwo\\\nthree": "P BR BR",
        "    indented": "PRE CODE",
        "[text](https://example.org/a_(b))": "P A",
        "``a ` b``": "P CODE",
    }
    shape = 'return given.map((text) => [...m.markdown(text).querySelectorAll("*")].map((e) => e.tagName).join(" "));'
    assert dict(zip(cases, await run(console, "markdown", shape, list(cases)), strict=True)) == cases
    words = "return given.map((text) => m.markdown(text).textContent);"
    texts = ["2 * 3 * 4 and snake_case", "a\\_b \\# c", "&amp; &copy; &#65;", "[a][b] [1] ![x]"]
    shown = ["2 * 3 * 4 and snake_case", "a_b # c", "& &copy; A", "[a][b] [1] ![x]"]
    assert await run(console, "markdown", words, texts) == shown


async def test_elements_refuse_attributes_that_would_act(console: Console) -> None:
    tried = """return given.map((name) => {
        try { m.el("a", {[name]: "x"}); return "made"; } catch { return "refused"; } });"""
    names = ["onclick", "OnClick", "onfocus", "style", "STYLE", "src", "srcdoc", "href", "title"]
    assert await run(console, "element", tried, names) == ["refused"] * 7 + ["made"] * 2


def _random_plan(chance: random.Random, size: int) -> list[dict[str, Any]]:
    names = [f"s{number}" for number in range(size)]
    return [
        {"id": name, "needs": chance.sample(names[:at], chance.randint(0, min(3, at)))} for at, name in enumerate(names)
    ]
