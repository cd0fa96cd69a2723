"""Where Waybill stands: against the best rival of the same invocation, and against its target."""

from __future__ import annotations

import pytest
from bench_results import SOME, result
from benches import BENCHMARKS, BY_NAME
from table import number, standings, table

BY_BENCH = {standing.benchmark.name: standing for standing in standings(SOME)}


@pytest.mark.parametrize(
    ("bench", "ratio"),
    [("throughput", 3.5), ("chain_latency", 0.98 / 0.65), ("unary", 0.25), ("growth", 0.95 / 0.9), ("idle", 20 / 12)],
)
def test_a_ratio_says_how_many_times_better_than_the_best_rival_or_the_limit(bench: str, ratio: float) -> None:
    assert BY_BENCH[bench].ratio == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("bench", "met"),
    [("throughput", True), ("chain_latency", True), ("unary", False), ("growth", True), ("idle", True)],
)
def test_a_target_is_met_within_the_limit_and_far_enough_ahead(bench: str, met: bool) -> None:
    assert BY_BENCH[bench].met is met


def test_a_limit_is_missed_even_far_ahead_of_all_others() -> None:
    (standing,) = standings([result("chain_latency", "waybill", 0.8), result("chain_latency", "slow", 8.0)])
    assert standing.met is False


def test_results_of_another_invocation_are_no_rivals() -> None:
    (standing,) = standings([result("throughput", "waybill", 9.0), result("throughput", "fast", 1.0, "earlier")])
    assert (standing.ratio, standing.met, list(standing.others)) == (None, None, [])


def test_what_is_part_of_waybill_is_no_peer() -> None:
    (standing,) = standings([result("throughput", "waybill", 9.0), result("throughput", "ledger", 90.0)])
    assert standing.ratio is None


def test_the_table_tells_of_each_standing_in_a_line_with_the_best_rival_first() -> None:
    lines = table(SOME).splitlines()
    assert len(lines) == 2 + len(BY_BENCH)
    assert "fast 6,000, slow 440" in lines[2]
    assert lines[2].split()[:2] == ["throughput", "21,000"]
    assert lines[2].endswith("yes")


def test_what_was_measured_of_others_alone_is_told_too() -> None:
    (line,) = table([result("fan", "fast", 0.5), result("fan", "slow", 2.0)]).splitlines()[2:]
    assert "fast 0.5, slow 2" in line
    assert line.split()[:2] == ["fan", "-"]


@pytest.mark.parametrize(("value", "text"), [(21_043.0, "21,000"), (0.12345, "0.123"), (999.6, "1000"), (0.0, "0")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_every_benchmark_has_a_target_and_a_name_of_its_own() -> None:
    assert all(benchmark.target for benchmark in BENCHMARKS)
    assert len(BY_NAME) == len(BENCHMARKS)
