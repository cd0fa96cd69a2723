"""A result is one JSON object, its value the median of its runs."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measurement import Measured, Result, Scale, own_versions, percentile, rounded

VALUES = st.floats(min_value=1e-6, max_value=1e9)


@given(runs=st.lists(VALUES, min_size=1), detail=st.dictionaries(st.text(), VALUES))
def test_a_result_comes_back_from_its_json_as_it_was(runs: list[float], detail: dict[str, float]) -> None:
    result = Result.of("fan", Measured("waybill", "s", runs, detail), {"python": "3.11"}, "one", "now")
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result


def test_the_value_is_the_median_of_the_runs() -> None:
    result = Result.of("fan", Measured("waybill", "s", [9.0, 1.0, 2.0]), {}, "one", "now")
    assert (result.value, result.runs) == (2.0, [9.0, 1.0, 2.0])


def test_what_a_benchmark_says_of_versions_comes_before_what_the_frame_knows() -> None:
    measured = Measured("waybill", "s", [1.0], versions={"store": "Valkey 9"})
    assert Result.of("fan", measured, {"store": "-", "python": "3"}, "one", "now").versions == {
        "store": "Valkey 9",
        "python": "3",
    }


@given(value=VALUES)
def test_rounding_keeps_four_digits(value: float) -> None:
    assert rounded(value) == pytest.approx(value, rel=5e-4)


@given(values=st.lists(VALUES, min_size=1), percent=st.floats(min_value=0.1, max_value=100))
def test_a_percentile_is_a_value_that_enough_do_not_exceed(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 * (1 - 1e-9)


@pytest.mark.parametrize(("share", "count"), [(1.0, 20_000), (0.25, 5_000), (1e-9, 2), (3.0, 20_000)])
def test_a_count_is_a_share_of_the_full_one_within_bounds(share: float, count: int) -> None:
    assert Scale(share=share).count(20_000, least=2) == count


def test_versions_name_python_and_the_libraries_that_matter() -> None:
    assert {"python", "waybill", "grpcio", "redis", "machine"} <= own_versions().keys()
