"""Writes what `docs/performance.md` shows: a picture for each benchmark, and the tables between its markers."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from latest import LATEST, read_results
from pictures import draw_costs, draw_growth, draw_standing
from table import HEADINGS, Standing, number, row_of, standings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
IMAGES = "images"
PREFIX = "bench-"
COSTS = {"throughput": "one-step task", "chain_throughput": "step of a chain", "diamond": "step of a diamond",
         "fan": "step of a fan"}  # fmt: skip
"""The benchmarks whose processor time by process is told, and what their unit is."""


def write_pictures(found: Sequence[Standing], folder: Path) -> None:
    """Draw every picture anew; those of earlier results are removed."""
    for old in folder.glob(f"{PREFIX}*.svg"):
        old.unlink()
    for standing in found:
        path = folder / f"{PREFIX}{standing.benchmark.name.replace('_', '-')}.svg"
        if standing.benchmark.name == "growth":
            draw_growth(standing.waybill.detail, path)
        else:
            draw_standing(standing, path)
    costs = costs_of(found)
    if costs:
        draw_costs(costs, folder / f"{PREFIX}cost.svg")


def costs_of(found: Sequence[Standing]) -> dict[str, Mapping[str, float]]:
    """Microseconds of processor time by process, by the words for what took them."""
    by_name = {one.benchmark.name: one.waybill.detail for one in found}
    return {words: by_name[name]["cpu_us"] for name, words in COSTS.items() if "cpu_us" in by_name.get(name, {})}


def results_section(found: Sequence[Standing]) -> str:
    """The table of results, on what they were measured, and a picture of each."""
    if not found:
        return "`bench/results/latest.json` has no results."
    parts = [_table(HEADINGS, [row_of(standing) for standing in found])]
    parts.append(_measured_on(found))
    for standing in found:
        name = standing.benchmark.name
        parts.append(f"### {name.replace('_', ' ').capitalize()}")
        parts.append(f"![{standing.benchmark.work}]({IMAGES}/{PREFIX}{name.replace('_', '-')}.svg)")
        parts += _beside(standing)
    return "\n\n".join(parts)


def _beside(standing: Standing) -> list[str]:
    """What else a picture does not show, in a sentence."""
    detail, told = standing.waybill.detail, []
    if "p99_ms" in detail:
        told.append(f"The 99th percentile is {number(detail['p99_ms'])} ms.")
    if isinstance(detail.get("fsync_ms"), dict):
        told.append(f"A sync of the store's disk took {number(detail['fsync_ms']['p50'])} ms in the same run.")
    return [" ".join(told)] if told else []


def cost_section(found: Sequence[Standing]) -> str:
    """What a task or a step costs in each process."""
    costs = costs_of(found)
    if not costs:
        return "`bench/results/latest.json` has no such results."
    names = [name for name in next(iter(costs.values())) if name != "sum"]
    rows = [(words, *(number(cost.get(name, 0.0)) for name in (*names, "sum"))) for words, cost in costs.items()]
    table = _table(("microseconds", *names, "in all"), rows)
    return f"{table}\n\n![Processor time by process]({IMAGES}/{PREFIX}cost.svg)"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _measured_on(found: Sequence[Standing]) -> str:
    """When, on what machine, and with which versions of what."""
    days = sorted({standing.waybill.time[:10] for standing in found})
    own, others = dict(found[0].waybill.versions), dict[str, str]()
    place, store = own.pop("machine", "one machine"), own.pop("store", "the embedded one")
    for standing in found:
        for other in standing.others:
            shared = {"machine", "store", *own}
            others |= {name: value for name, value in other.versions.items() if name not in shared}
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    lines = [f"Measured {when} on {place}; store: {store}. Versions: {_listed(own)}."]
    return " ".join([*lines, *([f"Those of peers: {_listed(others)}."] if others else [])])


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(versions.items()))


def replaced(page: str, name: str, text: str) -> str:
    """The page with what stands between the markers of a section replaced. Raises `ValueError` without such markers."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page has no markers of {name}")
    return pattern.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write pictures and page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=LATEST)
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args(arguments)
    found = standings(read_results(chosen.results))
    write_pictures(found, chosen.page.parent / IMAGES)
    page = replaced(chosen.page.read_text(), "results", results_section(found))
    chosen.page.write_text(replaced(page, "costs", cost_section(found)))
    print(f"wrote {chosen.page.name} and {len(found)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
