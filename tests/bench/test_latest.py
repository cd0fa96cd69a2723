"""`latest.json` keeps the newest result of each benchmark and system."""

from __future__ import annotations

from pathlib import Path

from bench_results import SOME, result
from latest import merge_results, read_results


def test_nothing_is_read_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_results(tmp_path / "latest.json") == []


def test_a_newer_result_replaces_its_elder_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "results" / "latest.json"
    merge_results(path, SOME)
    newer = result("throughput", "fast", 7_000, "two")
    merge_results(path, [newer, result("fan", "waybill", 0.05, "two")])
    kept = {(one.bench, one.system): one for one in read_results(path)}
    assert kept["throughput", "fast"] == newer
    assert kept.keys() == {(one.bench, one.system) for one in SOME} | {("fan", "waybill")}
    assert kept["throughput", "waybill"] == SOME[0]


def test_results_are_kept_in_the_order_of_the_benchmarks_waybill_first(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    merge_results(path, reversed(SOME))
    order = [(one.bench, one.system) for one in read_results(path)]
    assert order[:3] == [("throughput", "waybill"), ("throughput", "fast"), ("throughput", "slow")]
    assert order[-1] == ("idle", "waybill")


def test_merging_twice_writes_the_same_bytes_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    merge_results(path, SOME)
    first = path.read_bytes()
    merge_results(path, SOME)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]
