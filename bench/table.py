"""The table that `make bench` prints, and what a target's verdict is: from results of one invocation at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benches import BENCHMARKS, PEERS, Benchmark
from measurement import WAYBILL, Result, rounded

OWN_SYSTEMS = (WAYBILL, "ledger", "grpc-echo")
HEADINGS = ("benchmark", "waybill", "unit", "peers and others", "ratio", "target", "met")


@dataclass(frozen=True)
class Standing:
    """Waybill's result of a benchmark beside those that were measured in the same invocation.

    `ratio` is None without a rival in that invocation.
    """

    benchmark: Benchmark
    waybill: Result
    others: Sequence[Result]
    ratio: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if that cannot be told without a rival."""
        if not self.benchmark.within_limit(self.waybill.value):
            return False
        if self.benchmark.times is None:
            return True
        return None if self.ratio is None else self.ratio >= self.benchmark.times


def standings(results: Sequence[Result]) -> list[Standing]:
    """Where Waybill stands in every benchmark that it has a result of."""
    found = []
    for benchmark in BENCHMARKS:
        own = next((r for r in results if (r.bench, r.system) == (benchmark.name, WAYBILL)), None)
        if own is None:
            continue
        beside = [r for r in results if r.bench == own.bench and r.invocation == own.invocation and r is not own]
        order = sorted(beside, key=lambda result: result.value, reverse=benchmark.higher_is_better)
        found.append(Standing(benchmark, own, order, _ratio(benchmark, own, order)))
    return found


def _ratio(benchmark: Benchmark, own: Result, beside: Sequence[Result]) -> float | None:
    """How many times better Waybill is than its best rival, or than the limit where it has no rival."""
    if not benchmark.rival:
        return None if benchmark.limit is None else benchmark.ratio(own.value, benchmark.limit)
    rivals = [result for result in beside if is_rival(benchmark, result.system)]
    return benchmark.ratio(own.value, rivals[0].value) if rivals else None


def is_rival(benchmark: Benchmark, system: str) -> bool:
    """Whether Waybill is held against a system in a benchmark."""
    return system not in OWN_SYSTEMS if benchmark.rival == PEERS else system == benchmark.rival


def table(results: Sequence[Result]) -> str:
    """All standings as aligned columns, and what was measured of others alone."""
    found = standings(results)
    stood = {standing.benchmark.name for standing in found}
    alone = [benchmark for benchmark in BENCHMARKS if benchmark.name not in stood]
    others = [(benchmark, [r for r in results if r.bench == benchmark.name]) for benchmark in alone]
    rows = [_row_of_others(benchmark, measured) for benchmark, measured in others if measured]
    return aligned([HEADINGS, *(row_of(standing) for standing in found), *rows])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns, the first one as headings."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def row_of(standing: Standing) -> tuple[str, ...]:
    """The cells of a standing, under `HEADINGS`."""
    return (
        standing.benchmark.name,
        number(standing.waybill.value),
        standing.waybill.unit,
        ", ".join(f"{result.system} {number(result.value)}" for result in standing.others) or "-",
        "-" if standing.ratio is None else f"{rounded(standing.ratio, 3):g}x",
        standing.benchmark.target,
        {True: "yes", False: "NO", None: "-"}[standing.met],
    )


def _row_of_others(benchmark: Benchmark, results: Sequence[Result]) -> tuple[str, ...]:
    measured = ", ".join(f"{result.system} {number(result.value)}" for result in results)
    return (benchmark.name, "-", results[0].unit, measured, "-", benchmark.target, "-")


def number(value: float) -> str:
    """A value as people read it: three significant digits, thousands apart."""
    return f"{rounded(value, 3):,.0f}" if abs(value) >= 1_000 else f"{rounded(value, 3):g}"
