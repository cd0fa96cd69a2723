"""The picture of a plan fits the width, shows every box whole, and says what is left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_values import plan_values
from rich.cells import cell_len

from waybill import PlanBuilder
from waybill.cli.plan_picture import picture
from waybill.cli.plan_svg import MAX_LAYERS, svg
from waybill.core.plan import Graph
from waybill.core.validation import link
from waybill.plan_file import json_text
from waybill.rpc.linking import link_plan
from waybill.rpc.specs import plan_from_json

HOSTILE = "\x1b[31mred</text><script>alert(1)</script>\x00\u202e&"


def graph_of(build: Callable[[PlanBuilder], object]) -> Graph:
    plan = PlanBuilder()
    build(plan)
    return link(plan.build(), {}, closed=False)


def approval(plan: PlanBuilder) -> None:
    find = plan.step("find", "retriever", question=plan.task.goal)
    drafts = [plan.step(f"draft-{number}", "writer", passages=find.output.passages) for number in range(3)]
    approve = plan.ask("approve", "Fit to be sent?", drafts=drafts)
    plan.step("send", "mailer", text=drafts[0], when=[approve.output.ok])


def test_a_plan_is_drawn_with_its_questions_and_conditions() -> None:
    assert list(picture(graph_of(approval), 60)) == [
        "                       ╭───────────╮",
        "                       │ find      │",
        "                       │ retriever │",
        "                       ╰─────┬─────╯",
        "                ╭────────────┼────────────╮",
        "                ▼            ▼            ▼",
        "           ╭─────────╮  ╭─────────╮  ╭─────────╮",
        "           │ draft-0 │  │ draft-1 │  │ draft-2 │",
        "           │ writer  │  │ writer  │  │ writer  │",
        "           ╰────┬────╯  ╰────┬────╯  ╰────┬────╯",
        "                ╰────────────┼────────────╯",
        "                             ▼",
        "                   ╔═══════════════════╗",
        "                   ║ approve           ║",
        "                   ║ ? Fit to be sent? ║",
        "                   ╚═════════╤═════════╝",
        "                             ▼",
        "                   ┌┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┐",
        "                   ┆ send              ┆",
        "                   ┆ mailer            ┆",
        "                   ┆ if ${approve.ok}  ┆",
        "                   └┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┘",
    ]


SIDES = dict(zip("│─╭╮╰╯├┤┬┴┼", ("ud", "lr", "dr", "dl", "ur", "ul", "udr", "udl", "dlr", "ulr", "udlr"), strict=True))
MOVES = {"u": (-1, 0), "d": (1, 0), "l": (0, -1), "r": (0, 1)}
BACK = {"u": "d", "d": "u", "l": "r", "r": "l"}


def boxes_in(lines: list[str]) -> dict[str, tuple[int, int, int, int]]:
    """First and last row and column of each box, by what it says first."""
    found = {}
    for row, line in enumerate(lines):
        for match in re.finditer(r"╭─+╮", line):
            first, last = match.start(), match.end() - 1
            if lines[row + 1][first] == "│":
                bottom = next(at for at in range(row + 1, len(lines)) if lines[at][first : first + 1] == "╰")
                found[lines[row + 1][first + 1 : last].strip()] = (row, bottom, first, last)
    return found


def followed(lines: list[str]) -> set[tuple[str, str]]:
    """The boxes that lines lead to from each box, as somebody reads them who never goes up."""
    boxes = boxes_in(lines)
    pairs = set()
    for name, (_, bottom, first, last) in boxes.items():
        leaving = [column for column in range(first, last) if lines[bottom][column] == "┬"]
        waiting = [(bottom + 1, column, "d") for column in leaving]
        seen = set(waiting)
        while waiting:
            row, column, way = waiting.pop()
            mark = lines[row][column]
            if mark == "▼":
                pairs |= {
                    (name, other)
                    for other, (top, _, left, right) in boxes.items()
                    if top == row + 1 and left < column < right
                }
                continue
            sides = way if mark == "│" and way in "lr" else SIDES[mark].replace(BACK[way], "").replace("u", "")
            for side in sides:
                down, across = MOVES[side]
                step = (row + down, column + across, side)
                if step not in seen:
                    seen.add(step)
                    waiting.append(step)
    return pairs


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_the_lines_lead_from_each_step_to_those_that_wait_for_it_and_to_no_other(data: st.DataObject) -> None:
    upper = [f"a{number}" for number in range(data.draw(st.integers(1, 5)))]
    lower = [f"b{number}" for number in range(data.draw(st.integers(1, 5)))]
    needed = {name: data.draw(st.lists(st.sampled_from(upper), unique=True, min_size=1), label=name) for name in lower}

    def two_layers(plan: PlanBuilder) -> None:
        for name in upper:
            plan.step(name, "an-agent-with-a-long-name")
        for name in lower:
            plan.step(name, "an-agent-with-a-long-name", after=needed[name])

    lines = list(picture(graph_of(two_layers), 200))
    wide = [line.ljust(200) for line in lines]
    assert followed(wide) == {(before, name) for name in lower for before in needed[name]}


@given(plan_values(), st.integers(10, 120))
@settings(max_examples=40, deadline=None)
def test_no_line_is_wider_than_asked_for_and_every_box_is_whole(plan: object, columns: int) -> None:
    graph = link_plan(plan_from_json(json_text(plan)), {}, closed=False)
    lines = list(picture(graph, columns))
    assert all(cell_len(line) <= max(columns, 24) for line in lines)
    corners = "".join(lines)
    assert corners.count("╔") == corners.count("╗") == corners.count("╚") == corners.count("╝")
    assert corners.count("┌") == corners.count("┐")


def test_wide_layers_are_folded_and_deep_plans_cut() -> None:
    def fan(plan: PlanBuilder) -> None:
        start = plan.step("start", "x")
        plan.step("join", "x", after=[plan.step(f"part-{number}", "x", after=[start]) for number in range(9_000)])

    def chain(plan: PlanBuilder) -> None:
        before = plan.step("step-0", "x")
        for number in range(1, 500):
            before = plan.step(f"step-{number}", "x", after=[before])

    wide = "\n".join(picture(graph_of(fan), 60))
    assert "part-0" in wide
    assert "and 8997 more" in wide
    assert list(picture(graph_of(chain), 60))[-1] == "... and 440 steps further down, which are not drawn"
    assert "and 300 steps further down" in svg(graph_of(chain), "chain")
    assert MAX_LAYERS == 200


def test_where_too_many_lines_go_by_each_other_the_steps_are_listed() -> None:
    def long_edges(plan: PlanBuilder) -> None:
        sources = [plan.step(f"s-{number}", "x") for number in range(30)]
        first = [plan.step(f"t-{number}", "x", after=[source]) for number, source in enumerate(sources)]
        middle = plan.step("middle", "x", after=first)
        after = plan.step("after", "x", after=[middle])
        for number, source in enumerate(sources):
            plan.step(f"u-{number}", "x", after=[source, after])

    lines = list(picture(graph_of(long_edges), 24))
    assert lines
    assert all(cell_len(line) <= 24 for line in lines)


def test_hostile_text_stays_text_in_the_terminal() -> None:
    graph = graph_of(lambda plan: plan.ask("only", HOSTILE))
    text = "\n".join(picture(graph, 100))
    assert all(char.isprintable() or char == "\n" for char in text)


def test_the_svg_is_one_document_without_scripts_or_links() -> None:
    graph = graph_of(lambda plan: plan.ask("only", HOSTILE, when=["${task.input | '<b>&\"'}"]))
    root = ElementTree.fromstring(svg(graph, HOSTILE.replace("\x00", "").replace("\x1b", "")))
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names <= {"svg", "title", "style", "defs", "marker", "path", "rect", "g", "text"}
    values = [value for element in root.iter() for value in element.attrib.values()]
    assert not [value for value in values if "http" in value or "javascript" in value]
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "only" in texts
    assert any("<script>" in (text or "") for text in texts)


@given(plan_values())
@settings(max_examples=40, deadline=None)
def test_the_svg_of_any_plan_is_well_formed_and_names_every_step(plan: object) -> None:
    graph = link_plan(plan_from_json(json_text(plan)), {}, closed=False)
    root = ElementTree.fromstring(svg(graph, "plan"))
    names = [element.text for element in root.iter() if element.get("class") == "name"]
    assert sorted(names, key=str) == sorted(step.step.name for step in graph.steps)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_svg_has_colours_for_both_schemes(scheme: str) -> None:
    assert scheme in svg(graph_of(approval), "approval")
