"""Ratios are held against committed floors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_results import SOME
from benches import BY_NAME
from check import FLOORS, main, verdicts
from latest import merge_results


@pytest.mark.parametrize(
    ("floor", "words"), [({"throughput": 3.5}, "ok"), ({"throughput": 3.6}, "BELOW"), ({"fan": 1.0}, "MISSING")]
)
def test_a_ratio_is_at_its_floor_below_it_or_missing(floor: dict[str, float], words: str) -> None:
    assert [verdict.words for verdict in verdicts(SOME, floor)] == [words]


@pytest.mark.parametrize(("floor", "code"), [(3.0, 0), (4.0, 1)])
def test_the_exit_code_tells_whether_all_is_well(
    floor: float, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, floors = tmp_path / "latest.json", tmp_path / "floors.json"
    merge_results(results, SOME)
    floors.write_text(json.dumps({"throughput": floor}))
    assert main(["--results", str(results), "--floors", str(floors)]) == code
    assert capsys.readouterr().out.splitlines()[-1].split() == [
        "throughput",
        "3.5",
        f"{floor:g}",
        ("ok", "BELOW")[code],
    ]


def test_no_results_are_a_failure_and_not_a_success(tmp_path: Path) -> None:
    assert main(["--results", str(tmp_path / "none.json"), "--floors", str(FLOORS)]) == 1


def test_written_floors_are_met_by_the_ratios_they_were_made_of_and_keep_those_without(tmp_path: Path) -> None:
    results, floors = tmp_path / "latest.json", tmp_path / "floors.json"
    merge_results(results, [one for one in SOME if one.bench != "idle"])
    floors.write_text(json.dumps({"throughput": 100.0, "idle": 1.0}))
    main(["--results", str(results), "--floors", str(floors), "--write"])
    written = json.loads(floors.read_text())
    assert written["idle"] == 1.0
    assert 2.0 < written["throughput"] < 3.5
    assert {verdict.bench for verdict in verdicts(SOME, written) if verdict.words == "ok"} == written.keys()


def test_committed_floors_are_of_benchmarks_that_there_are() -> None:
    assert json.loads(FLOORS.read_text()).keys() == BY_NAME.keys()
