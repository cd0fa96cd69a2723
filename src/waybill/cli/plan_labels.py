"""Owns what the picture of a plan says of each step, in the terminal and as SVG alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from waybill.cli.lines import printable
from waybill.core.graph_layers import Spot
from waybill.core.plan import Graph

MAX_LABEL_CHARS = 40


class Shape(Enum):
    """What kind of step a box stands for."""

    PLAIN = auto()
    CONDITIONAL = auto()
    QUESTION = auto()
    FOLDED = auto()


@dataclass(frozen=True, slots=True)
class Label:
    """The lines in a step's box, the first of them its name, with nothing that a terminal would obey."""

    lines: tuple[str, ...]
    shape: Shape


def label_of(graph: Graph, spot: Spot) -> Label:
    """What a box says. A bend has no box, and no label."""
    if spot.step is None:
        count = len(spot.folded)
        return Label((f"and {count} more",), Shape.FOLDED)
    step = graph.steps[spot.step].step
    asked = step.question
    lines = [step.name, f"? {asked.prompt}" if asked is not None else step.agent]
    lines += [f"if {condition}" for condition in step.when]
    if step.allow_skipped:
        lines.append("also after skipped steps")
    plain = Shape.CONDITIONAL if step.when else Shape.PLAIN
    return Label(tuple(printable(line, MAX_LABEL_CHARS) for line in lines), plain if asked is None else Shape.QUESTION)


def dependencies_of(graph: Graph) -> Sequence[Sequence[int]]:
    """What each step depends on, by positions from 0."""
    return [[number - 1 for number in step.dependencies] for step in graph.steps]
