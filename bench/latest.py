"""Owns `results/latest.json`: the newest result of each benchmark and system."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from benches import BENCHMARKS
from measurement import WAYBILL, Result

LATEST = Path(__file__).resolve().parent / "results" / "latest.json"
_ORDER = {benchmark.name: place for place, benchmark in enumerate(BENCHMARKS)}


def read_results(path: Path = LATEST) -> list[Result]:
    """What the file holds, [] if there is none."""
    return msgspec.json.decode(path.read_bytes(), type=list[Result]) if path.exists() else []


def merge_results(path: Path, found: Iterable[Result]) -> Sequence[Result]:
    """Replace results of the same benchmark and system, add the others; all are written, or nothing is."""
    merged = {(result.bench, result.system): result for result in (*read_results(path), *found)}
    kept = sorted(merged.values(), key=lambda result: (_place(result.bench), result.system != WAYBILL, result.system))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    os.replace(draft, path)
    return kept


def _place(bench: str) -> tuple[int, str]:
    return (_ORDER.get(bench, len(_ORDER)), bench)
