"""Owns the lines between two layers of a plan's picture: which way each takes, and the characters that draw it.

What several boxes lead to together is one wire. A wire that does not go straight down has a row of its own where it
turns, and leaves its box at a column at which no other wire comes down, so that only what belongs together touches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_GLYPHS = " │││─╯╮┤─╰╭├─┴┬┼"
"""Lines by the sides that they reach."""

Place = tuple[int, int, int]
"""First, middle and last column of a spot."""
Cells = dict[tuple[int, int], tuple[set[int], int]]
"""By row and column, the wires there and the sides that they reach."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A wire between columns: what leaves above, and what is reached below. Without a `row` it goes straight down."""

    above: tuple[int, ...]
    below: tuple[int, ...]
    row: int | None = None

    @property
    def first(self) -> int:
        """Its column furthest to the left."""
        return min(*self.above, *self.below)

    @property
    def last(self) -> int:
        """Its column furthest to the right."""
        return max(*self.above, *self.below)


@dataclass(frozen=True, slots=True)
class Wiring:
    """The wires between two layers, and the column at which each spot is left."""

    wires: tuple[Wire, ...]
    exits: Mapping[int, int]

    @property
    def arrivals(self) -> Iterator[int]:
        """The columns at which wires come down on what is below."""
        return (column for wire in self.wires for column in wire.below)

    @classmethod
    def of(cls, ends: Mapping[int, Sequence[int]], places: Sequence[Place]) -> Wiring:
        """The wiring, given where each spot of the upper layer leads to."""
        together: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for spot, reached in ends.items():
            together[tuple(sorted(reached))].append(spot)
        arrivals = _arrivals(together, places)
        taken = set(arrivals.values())
        exits: dict[int, int] = {}
        made: list[Wire] = []
        for reached, spots in together.items():
            below = tuple(sorted(arrivals[reached, end] for end in reached))
            for spot in spots:
                exits[spot] = _exit(places[spot], taken.difference(below))
            made.append(Wire(tuple(sorted(exits[spot] for spot in spots)), below))
        return cls(_in_rows(made), exits)


def wires(wiring: Wiring, arrows: set[int]) -> Iterator[str]:
    """The lines from one layer to the next, with the tips of arrows at these columns."""
    if not wiring.wires:
        return
    height = max((wire.row for wire in wiring.wires if wire.row is not None), default=-1) + 2
    across: Cells = {}
    along: Cells = {}
    for number, wire in enumerate(wiring.wires):
        _lay(number, wire, height, across, along)
    for row in range(height):
        columns = {column for at, column in (*across, *along) if at == row}
        line = [" "] * (max(columns) + 1)
        for column in columns:
            line[column] = _glyph(across.get((row, column)), along.get((row, column)))
            if row == height - 1 and column in arrows:
                line[column] = "▼"
        yield "".join(line)


def _arrivals(
    together: Mapping[tuple[int, ...], Sequence[int]], places: Sequence[Place]
) -> dict[tuple[tuple[int, ...], int], int]:
    """The column at which each wire, named by all that it reaches, comes down on each spot: one of its own."""
    arriving: dict[int, list[tuple[float, tuple[int, ...]]]] = defaultdict(list)
    for reached, spots in together.items():
        mean = sum(places[spot][1] for spot in spots) / len(spots)
        for end in reached:
            arriving[end].append((mean, reached))
    columns: dict[tuple[tuple[int, ...], int], int] = {}
    for end, found in arriving.items():
        first, middle, last = places[end]
        apart = min(4, (last - first - 2) // max(1, len(found) - 1))
        for number, (_, reached) in enumerate(sorted(found)):
            offset = (2 * number - len(found) + 1) * apart // 2
            columns[reached, end] = min(max(middle + offset, min(first + 1, middle)), max(last - 1, middle))
    return columns


def _exit(place: Place, taken: AbstractSet[int]) -> int:
    """The column at which a spot is left: as near to its middle as can be, and where no other wire comes down."""
    first, middle, last = place
    near = sorted(range(first + 1, last), key=lambda column: (abs(column - middle), -column))
    return next((column for column in near if column not in taken), middle)


def _in_rows(made: Sequence[Wire]) -> tuple[Wire, ...]:
    """The wires with a row for each that turns, in which it overlaps no other."""
    taken: list[list[tuple[int, int]]] = []
    placed: list[Wire] = []
    for wire in sorted(
        made, key=lambda wire: (max(*wire.above, *wire.below) - min(*wire.above, *wire.below), wire.above)
    ):
        first, last = min(*wire.above, *wire.below), max(*wire.above, *wire.below)
        if first == last:
            placed.append(wire)
            continue
        row = 0
        while row < len(taken) and any(start <= last and first <= end for start, end in taken[row]):
            row += 1
        taken.extend([] for _ in range(row + 1 - len(taken)))
        taken[row].append((first, last))
        placed.append(Wire(wire.above, wire.below, row))
    return tuple(placed)


def _lay(number: int, wire: Wire, height: int, across: Cells, along: Cells) -> None:
    turn = wire.row or 0
    for column in wire.above:
        for row in range(turn + 1):
            _add(along, row, column, number, _UP | (_DOWN if row < turn or wire.row is None else 0))
    for column in wire.below:
        for row in range(turn, height):
            _add(along, row, column, number, _DOWN | (_UP if row > turn else 0))
    if wire.row is not None:
        for column in range(wire.first, wire.last + 1):
            sides = (_LEFT if column > wire.first else 0) | (_RIGHT if column < wire.last else 0)
            _add(across, turn, column, number, sides)


def _add(cells: Cells, row: int, column: int, number: int, sides: int) -> None:
    owners, before = cells.setdefault((row, column), (set(), 0))
    owners.add(number)
    cells[row, column] = (owners, before | sides)


def _glyph(across: tuple[set[int], int] | None, along: tuple[set[int], int] | None) -> str:
    if across is None or along is None:
        return _GLYPHS[(across or along or (set(), 0))[1]]
    is_joined = bool(across[0] & along[0])
    return _GLYPHS[across[1] | along[1]] if is_joined else _GLYPHS[_UP | _DOWN]
