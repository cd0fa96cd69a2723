"""Is Waybill still as much better than others as it was? `python bench/check.py`: exits with 1 if it is not.

Compares the ratios of `results/latest.json` with the floors in `floors.json`. With `--write` the floors are set a
margin below the ratios of now; those that have none keep theirs.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import msgspec
from latest import LATEST, read_results
from measurement import Result, rounded
from table import aligned, standings

FLOORS = Path(__file__).resolve().parent / "floors.json"
MARGIN = 0.25
"""How much worse a ratio may become before it counts: machines and days differ."""


@dataclass(frozen=True)
class Verdict:
    """One benchmark: `ratio` is None if there is none of one invocation."""

    bench: str
    ratio: float | None
    floor: float

    @property
    def words(self) -> str:
        """`ok`, `BELOW` or `MISSING`."""
        if self.ratio is None:
            return "MISSING"
        return "ok" if self.ratio >= self.floor else "BELOW"

    @property
    def cells(self) -> tuple[str, ...]:
        """The verdict as a row."""
        ratio = "-" if self.ratio is None else f"{rounded(self.ratio, 3):g}"
        return (self.bench, ratio, f"{self.floor:g}", self.words)


def verdicts(results: Sequence[Result], floors: Mapping[str, float]) -> list[Verdict]:
    """A verdict for every floor."""
    ratios = ratios_of(results)
    return [Verdict(bench, ratios.get(bench), floor) for bench, floor in floors.items()]


def ratios_of(results: Sequence[Result]) -> dict[str, float]:
    """The ratio of every benchmark that has one."""
    return {one.benchmark.name: one.ratio for one in standings(results) if one.ratio is not None}


def lowered(ratios: Mapping[str, float], floors: Mapping[str, float]) -> dict[str, float]:
    """Floors a margin below the ratios; a ratio without bounds, of a value of 0, gives none."""
    found = {bench: rounded(ratio * (1 - MARGIN), 2) for bench, ratio in ratios.items() if math.isfinite(ratio)}
    return {**floors, **found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, or write new floors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=LATEST)
    parser.add_argument("--floors", type=Path, default=FLOORS)
    parser.add_argument("--write", action="store_true", help="set the floors by these results")
    chosen = parser.parse_args(arguments)
    results = read_results(chosen.results)
    floors = msgspec.json.decode(chosen.floors.read_bytes(), type=dict[str, float])
    if chosen.write:
        floors = lowered(ratios_of(results), floors)
        chosen.floors.write_bytes(msgspec.json.format(msgspec.json.encode(floors), indent=2) + b"\n")
    found = verdicts(results, floors)
    print(aligned([("benchmark", "ratio", "floor", ""), *(verdict.cells for verdict in found)]))
    return 0 if all(verdict.words == "ok" for verdict in found) else 1


if __name__ == "__main__":
    sys.exit(main())
