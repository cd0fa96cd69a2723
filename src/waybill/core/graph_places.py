"""Where the spots of a layered graph stand from left to right: near to what they are joined with, in their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from waybill.core.graph_layers import SWEEPS, Layers


def places_of(layers: Layers, widths: Sequence[int], *, gap: int, width: int, sweeps: int = SWEEPS) -> list[int]:
    """The left edge of each spot: near to its neighbours, in the order of its layer, `gap` apart, and within `width`,
    if the layers fit into that.
    """
    lefts = [0.0] * len(widths)
    neighbours: tuple[dict[int, list[int]], dict[int, list[int]]] = (defaultdict(list), defaultdict(list))
    for start, end in layers.edges:
        neighbours[0][end].append(start)
        neighbours[1][start].append(end)
    for sweep in range(sweeps + 1):
        side = sweep % 2
        for layer in layers.layers if side == 0 else reversed(layers.layers):
            wanted = []
            for spot in layer:
                others = neighbours[side][spot]
                centre = lefts[spot] + widths[spot] / 2
                if others:
                    centre = sum(lefts[other] + widths[other] / 2 for other in others) / len(others)
                elif sweep == 0:
                    centre = width / 2
                wanted.append(centre - widths[spot] / 2)
            for spot, left in zip(
                layer, _apart(wanted, [widths[spot] + gap for spot in layer], width + gap), strict=True
            ):
                lefts[spot] = left
    return _whole(layers, lefts, widths, gap)


def _apart(wanted: Sequence[float], steps: Sequence[int], room: int) -> list[float]:
    """The places nearest to those wanted (least squares) that keep the order and the distances: pooled neighbours."""
    offset = 0
    offsets: list[int] = []
    for step in steps:
        offsets.append(offset)
        offset += step
    pools: list[tuple[float, int]] = []  # mean and count
    for want, before in zip(wanted, offsets, strict=True):
        mean, count = want - before, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        pools.append((mean, count))
    free = max(0.0, float(room - offset))
    shifts = [min(max(mean, 0.0), free) for mean, count in pools for _ in range(count)]
    return [shift + before for shift, before in zip(shifts, offsets, strict=True)]


def _whole(layers: Layers, lefts: Sequence[float], widths: Sequence[int], gap: int) -> list[int]:
    """The places in whole columns."""
    whole = [0] * len(lefts)
    for layer in layers.layers:
        free = 0
        for spot in layer:
            whole[spot] = max(free, int(lefts[spot]))
            free = whole[spot] + widths[spot] + gap
    return whole
