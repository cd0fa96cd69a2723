"""Owns the picture of a plan in the terminal: boxes in layers, joined by lines, that fit the width.

A double frame is a question, a dashed one a step under a condition. Lines that only cross do not touch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from waybill.cli.plan_labels import Label, Shape, dependencies_of, label_of
from waybill.cli.plan_wires import Wiring, wires
from waybill.core.graph_layers import Layers, layers_of
from waybill.core.graph_places import places_of
from waybill.core.plan import Graph

MAX_LAYERS = 60
MIN_COLUMNS = 24
_GAP = 2
_FRAME_COLUMNS = 4
_MIN_LABEL_COLUMNS = 8
_FRAMES = {
    Shape.PLAIN: "╭─╮│╰╯┬",
    Shape.CONDITIONAL: "┌┄┐┆└┘┬",
    Shape.QUESTION: "╔═╗║╚╝╤",
    Shape.FOLDED: "╭┈╮┊╰╯┬",
}
"""Corners and sides of frames: top left, across, top right, down, bottom left, bottom right, where a line leaves."""


def picture(graph: Graph, columns: int) -> Iterator[str]:
    """The picture, line by line, at most `columns` wide (and no narrower than MIN_COLUMNS)."""
    columns = max(columns, MIN_COLUMNS)
    dependencies = dependencies_of(graph)
    for most in range(max(1, (columns + _GAP) // (_MIN_LABEL_COLUMNS + _FRAME_COLUMNS + _GAP)), 0, -1):
        layers = layers_of(dependencies, most_in_layer=most, most_layers=MAX_LAYERS)
        boxes = _boxes(graph, layers, columns)
        if boxes is not None:
            yield from _drawn(layers, boxes, columns)
            break
    else:  # too many lines go by each other
        yield from _listed(graph, columns)
        return
    if layers.cut:
        yield f"... and {layers.cut} steps further down, which are not drawn"


@dataclass(frozen=True, slots=True)
class _Box:
    """A box with its lines cut to its width; a bend has none of them."""

    lines: tuple[str, ...]
    columns: int
    shape: Shape = Shape.PLAIN

    @property
    def rows(self) -> int:
        return len(self.lines) + 2 if self.lines else 1


def _boxes(graph: Graph, layers: Layers, columns: int) -> list[_Box] | None:
    """The boxes, cut so that each layer fits; None if one cannot."""
    boxes = [_Box((), 1)] * len(layers.spots)
    for layer in layers.layers:
        labels = {spot: label_of(graph, layers.spots[spot]) for spot in layer if not layers.spots[spot].is_bend}
        bends = len(layer) - len(labels)
        room = columns - _GAP * (len(layer) - 1) - bends - (_FRAME_COLUMNS + 1) * len(labels)
        wanted = {spot: max(map(cell_len, label.lines)) for spot, label in labels.items()}
        if room < sum(min(width, _MIN_LABEL_COLUMNS) for width in wanted.values()):
            return None
        widest = max(wanted.values(), default=0)
        while sum(min(width, widest) for width in wanted.values()) > room:
            widest -= 1
        for spot, label in labels.items():
            boxes[spot] = _box(label, min(wanted[spot], widest))
    return boxes


def _box(label: Label, columns: int) -> _Box:
    columns += 1 - columns % 2  # an odd width has a column in its middle
    return _Box(tuple(_cut(line, columns) for line in label.lines), columns + _FRAME_COLUMNS, label.shape)


def _cut(line: str, columns: int) -> str:
    return set_cell_size(line if cell_len(line) <= columns else set_cell_size(line, columns - 1) + "…", columns)


def _drawn(layers: Layers, boxes: Sequence[_Box], columns: int) -> Iterator[str]:
    lefts = places_of(layers, [box.columns for box in boxes], gap=_GAP, width=columns)
    places = [(left, left + box.columns // 2, left + box.columns - 1) for left, box in zip(lefts, boxes, strict=True)]
    ends: dict[int, list[int]] = defaultdict(list)
    for start, end in layers.edges:
        ends[start].append(end)
    for layer in layers.layers:
        wiring = Wiring.of({spot: ends[spot] for spot in layer if ends[spot]}, places)
        yield from _row_of_boxes(layer, boxes, lefts, wiring.exits)
        bends = {places[end][1] for spot in layer for end in ends[spot] if not boxes[end].lines}
        yield from wires(wiring, {column for column in wiring.arrivals if column not in bends})


def _row_of_boxes(
    layer: Sequence[int], boxes: Sequence[_Box], lefts: Sequence[int], exits: Mapping[int, int]
) -> Iterator[str]:
    height = max(boxes[spot].rows for spot in layer)
    for row in range(height):
        line, used = "", 0
        for spot in layer:
            leaving = exits[spot] - lefts[spot] if spot in exits else None
            line += " " * (lefts[spot] - used) + _box_line(boxes[spot], row, leaving)
            used = lefts[spot] + boxes[spot].columns
        yield line.rstrip()


def _box_line(box: _Box, row: int, leaving: int | None) -> str:
    """A row of a box; `leaving` is the column in it at which a line leaves, if one does."""
    if not box.lines:
        return "│"
    left, across, right, down, low_left, low_right, leave = tuple(_FRAMES[box.shape])
    inner = box.columns - 2
    if row == 0:
        return left + across * inner + right
    if row <= len(box.lines):
        return f"{down} {box.lines[row - 1]} {down}"
    is_frame = row == len(box.lines) + 1
    line, mark = (low_left + across * inner + low_right, leave) if is_frame else (" " * box.columns, "│")
    return line if leaving is None else line[:leaving] + mark + line[leaving + 1 :]


def _listed(graph: Graph, columns: int) -> Iterator[str]:
    """The steps one a line, with what each depends on: where no picture fits."""
    for step in graph.steps:
        needed = ", ".join(graph.steps[number - 1].step.name for number in step.dependencies)
        line = f"{step.step.name} ({step.step.agent or 'asks'})" + (f" <- {needed}" if needed else "")
        yield line if len(line) <= columns else line[: columns - 1] + "…"
