"""Owns the picture of a plan as SVG: one file that needs nothing else, light or dark as its reader prefers.

All text is escaped, and nothing in the file is a script or a link.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from waybill.cli.plan_labels import Label, Shape, dependencies_of, label_of
from waybill.core.graph_layers import Layers, layers_of
from waybill.core.graph_places import places_of
from waybill.core.plan import Graph

MOST_IN_LAYER = 24
MAX_LAYERS = 200
_CHAR_PX, _LINE_PX, _PADDING_PX = 8, 18, 12
_GAP_PX, _LAYER_GAP_PX, _MARGIN_PX = 28, 44, 24
_CLASSES = {Shape.PLAIN: "plain", Shape.CONDITIONAL: "conditional", Shape.QUESTION: "question", Shape.FOLDED: "folded"}
_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #8c959f;
  --box: #f6f8fa; --ask: #fff4d6; --edge: #d1d9e0; --asks: #b58407; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #f0f6fc; --soft: #9198a1; --line: #656c76;
  --box: #161b22; --ask: #2e2510; --edge: #3d444d; --asks: #d29922; } }
.paper { fill: var(--paper); }
.wire { fill: none; stroke: var(--line); stroke-width: 1.5; }
.tip { fill: var(--line); }
rect.step { fill: var(--box); stroke: var(--edge); stroke-width: 1.5; }
.conditional rect.step { stroke: var(--line); stroke-dasharray: 5 4; }
.question rect.step { fill: var(--ask); stroke: var(--asks); }
.folded rect.step { stroke: var(--line); stroke-dasharray: 2 3; }
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: var(--soft); }
text.name { fill: var(--ink); font-weight: 600; }
"""


def svg(graph: Graph, title: str) -> str:
    """The picture as the text of an SVG file."""
    layers = layers_of(dependencies_of(graph), most_in_layer=MOST_IN_LAYER, most_layers=MAX_LAYERS)
    labels = [None if spot.is_bend else label_of(graph, spot) for spot in layers.spots]
    widths = [_width_px(label) for label in labels]
    heights = [len(label.lines) * _LINE_PX + _PADDING_PX if label else 0 for label in labels]
    inner = max(
        (sum(widths[spot] for spot in layer) + _GAP_PX * (len(layer) - 1) for layer in layers.layers), default=0
    )
    lefts = places_of(layers, widths, gap=_GAP_PX, width=inner)
    tops, bottom = _tops(layers, heights)
    note = f"and {layers.cut} steps further down, which are not drawn" if layers.cut else ""
    width = inner + 2 * _MARGIN_PX
    height = bottom + _MARGIN_PX + (_LINE_PX if note else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8Z"/></marker></defs>',
        f'<rect class="paper" width="{width}" height="{height}"/>',
        *_wires(layers, labels, lefts, widths, tops, heights),
        *(
            _box(label, lefts[spot] + _MARGIN_PX, tops[spot], widths[spot], heights[spot])
            for spot, label in enumerate(labels)
            if label is not None
        ),
        *([f'<text x="{_MARGIN_PX}" y="{height - _MARGIN_PX // 2}">{escape(note)}</text>'] if note else []),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _width_px(label: Label | None) -> int:
    return max(map(len, label.lines)) * _CHAR_PX + 2 * _PADDING_PX if label else 2


def _tops(layers: Layers, heights: Sequence[int]) -> tuple[list[int], int]:
    """The upper edge of each spot, and the lower edge of all."""
    tops = [0] * len(heights)
    top = _MARGIN_PX
    for layer in layers.layers:
        tallest = max(heights[spot] for spot in layer)
        for spot in layer:
            tops[spot] = top
        top += tallest + _LAYER_GAP_PX
    return tops, top - _LAYER_GAP_PX


def _wires(
    layers: Layers,
    labels: Sequence[Label | None],
    lefts: Sequence[int],
    widths: Sequence[int],
    tops: Sequence[int],
    heights: Sequence[int],
) -> Iterator[str]:
    """A curve for each edge between two layers; through a bend it goes straight down to where its layer ends."""
    floor: dict[int, int] = {}
    for layer in layers.layers:
        lowest = max(tops[spot] + heights[spot] for spot in layer)
        floor.update(dict.fromkeys(layer, lowest))
    for start, end in layers.edges:
        x1, x2 = (lefts[spot] + widths[spot] // 2 + _MARGIN_PX for spot in (start, end))
        y1 = floor[start] if labels[start] is None else tops[start] + heights[start]
        y2 = tops[end]
        middle = (floor[start] + y2) // 2
        through = f"M{x1} {y1}V{floor[start]}C{x1} {middle + 8} {x2} {middle - 8} {x2} {y2}"
        if labels[end] is None:
            yield f'<path class="wire" d="{through}V{floor[end]}"/>'
        else:
            yield f'<path class="wire" d="{through}" marker-end="url(#tip)"/>'


def _box(label: Label, x: int, y: int, width: int, height: int) -> str:
    texts = "".join(
        f'<text{" class=" + chr(34) + "name" + chr(34) if number == 0 else ""} x="{x + _PADDING_PX}"'
        f' y="{y + _PADDING_PX // 2 + _LINE_PX * number + 14}">{escape(line)}</text>'
        for number, line in enumerate(label.lines)
    )
    radius = 14 if label.shape is Shape.QUESTION else 6
    rect = f'<rect class="step" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>'
    return f'<g class="{_CLASSES[label.shape]}">{rect}{texts}</g>'
