"""A graph of steps in layers, to be drawn: each step below all that it depends on, and few lines that cross.

The method is Sugiyama's: layers by the longest way to a step, long edges as chains of bends, one a layer, and the order
within layers by the mean place of neighbours. Wide layers are folded and deep graphs cut, so that what is drawn stays
small whatever the graph; the graph itself may have any size.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from waybill.core.edges import dependents_of

SWEEPS = 8
"""How often the order of layers is improved, down and up."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One place in a layer: a step by its position in the plan; or, without one, `folded` steps that are not shown; or
    a bend of an edge that goes on to a later layer.
    """

    step: int | None = None
    folded: tuple[int, ...] = ()

    @property
    def is_bend(self) -> bool:
        """Whether nothing is here but a line that goes through."""
        return self.step is None and not self.folded


@dataclass(frozen=True, slots=True)
class Layers:
    """Spots in layers, from left to right; `edges` lead from a spot of one layer to one of the next, as positions in
    `spots`. `cut` are the steps that lie deeper than what is shown. Edges that follow from others are left out.
    """

    spots: tuple[Spot, ...]
    layers: tuple[tuple[int, ...], ...]
    edges: tuple[tuple[int, int], ...]
    cut: int = 0


def layers_of(dependencies: Sequence[Sequence[int]], *, most_in_layer: int, most_layers: int) -> Layers:
    """The layers of an acyclic graph, given what each of its steps depends on."""
    levels = _levels(dependencies)
    rows: dict[int, list[int]] = defaultdict(list)
    for step, level in enumerate(levels):
        rows[level].append(step)
    spots: list[Spot] = []
    spot_of: dict[int, int] = {}
    level_of: list[int] = []
    for level in range(min(len(rows), most_layers)):
        row = rows[level]
        kept = len(row) if len(row) <= most_in_layer else max(1, most_in_layer - 1)
        for step in row[:kept]:
            spot_of[step] = len(spots)
            spots.append(Spot(step))
            level_of.append(level)
        if kept < len(row):
            spot_of.update(dict.fromkeys(row[kept:], len(spots)))
            spots.append(Spot(folded=tuple(row[kept:])))
            level_of.append(level)
    needed: list[set[int]] = [set() for _ in spots]
    for step, spot in spot_of.items():
        needed[spot].update(spot_of[before] for before in dependencies[step] if before in spot_of)
    edges = _bent(_reduced(needed, level_of), spots, level_of)
    ordered = _ordered(level_of, edges)
    return Layers(tuple(spots), ordered, tuple(sorted(edges)), sum(map(len, rows.values())) - len(spot_of))


def _levels(dependencies: Sequence[Sequence[int]]) -> list[int]:
    """The layer of each step: below what it depends on, and, where nothing holds it up, near to what needs it."""
    dependents = dependents_of(dependencies)
    missing = [len(needed) for needed in dependencies]
    levels = [0] * len(dependencies)
    ready = [step for step, count in enumerate(missing) if count == 0]
    while ready:
        step = ready.pop()
        for dependent in dependents[step]:
            levels[dependent] = max(levels[dependent], levels[step] + 1)
            missing[dependent] -= 1
            if missing[dependent] == 0:
                ready.append(dependent)
    for step, needed in enumerate(dependencies):
        if not needed and dependents[step]:
            levels[step] = min(levels[dependent] for dependent in dependents[step]) - 1
    return levels


def _reduced(needed: Sequence[set[int]], level_of: Sequence[int]) -> list[tuple[int, int]]:
    """The edges without those that follow from others."""
    above = [0] * len(needed)
    edges: list[tuple[int, int]] = []
    for spot in sorted(range(len(needed)), key=level_of.__getitem__):
        followed = 0
        for before in needed[spot]:
            followed |= above[before]
        above[spot] = followed
        for before in sorted(needed[spot]):
            above[spot] |= 1 << before
            if not followed >> before & 1:
                edges.append((before, spot))
    return edges


def _bent(edges: Sequence[tuple[int, int]], spots: list[Spot], level_of: list[int]) -> set[tuple[int, int]]:
    """The edges from layer to layer; those of one spot share their bends, which are added to `spots`."""
    bends: dict[tuple[int, int], int] = {}
    short: set[tuple[int, int]] = set()
    for start, end in edges:
        here = start
        for level in range(level_of[start] + 1, level_of[end]):
            bend = bends.get((start, level))
            if bend is None:
                bend = bends[start, level] = len(spots)
                spots.append(Spot())
                level_of.append(level)
            short.add((here, bend))
            here = bend
        short.add((here, end))
    return short


def _ordered(level_of: Sequence[int], edges: set[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    layers: list[list[int]] = [[] for _ in range(max(level_of, default=-1) + 1)]
    for spot, level in enumerate(level_of):
        layers[level].append(spot)
    above: dict[int, list[int]] = defaultdict(list)
    below: dict[int, list[int]] = defaultdict(list)
    for start, end in sorted(edges):
        above[end].append(start)
        below[start].append(end)
    best = [list(layer) for layer in layers]
    fewest = _crossings(best, below)
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        neighbours = above if downwards else below
        for fixed, moved in zip(
            layers[:-1] if downwards else layers[:0:-1], layers[1:] if downwards else layers[-2::-1], strict=True
        ):
            place = {spot: position for position, spot in enumerate(fixed)}
            _sort_by_neighbours(moved, place, neighbours)
        crossings = _crossings(layers, below)
        if crossings < fewest:
            fewest, best = crossings, [list(layer) for layer in layers]
    return tuple(map(tuple, best))


def _sort_by_neighbours(layer: list[int], place: dict[int, int], neighbours: dict[int, list[int]]) -> None:
    means = {
        spot: sum(place[other] for other in neighbours[spot]) / len(neighbours[spot]) if neighbours[spot] else float(at)
        for at, spot in enumerate(layer)
    }
    layer.sort(key=means.__getitem__)


def _crossings(layers: Sequence[Sequence[int]], below: dict[int, list[int]]) -> int:
    """How many pairs of edges cross."""
    crossings = 0
    for upper, lower in pairwise(layers):
        place = {spot: position for position, spot in enumerate(lower)}
        seen: list[int] = []
        for spot in upper:
            ends = sorted(place[end] for end in below[spot])
            for end in ends:
                crossings += len(seen) - bisect_left(seen, end + 1)
            for end in ends:
                insort(seen, end)
    return crossings
