"""The page's tables and pictures come from the results."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench_results import SOME
from latest import merge_results
from plots import PAGE, main, replaced


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The page, somewhere else, and results beside it."""
    merge_results(tmp_path / "latest.json", SOME)
    copy = tmp_path / "performance.md"
    copy.write_text(PAGE.read_text())
    return copy


def write(page: Path) -> dict[str, bytes]:
    """Write page and pictures; what was written, by name."""
    assert main(["--results", str(page.with_name("latest.json")), "--page", str(page)]) == 0
    return {file.name: file.read_bytes() for file in (page, *sorted((page.parent / "images").iterdir()))}


def test_there_is_a_picture_of_every_benchmark_and_of_the_costs(page: Path) -> None:
    written = write(page)
    pictures = {name.removeprefix("bench-").removesuffix(".svg") for name in written if name.endswith(".svg")}
    assert pictures == {"throughput", "chain-latency", "unary", "growth", "idle", "cost"}
    assert all(f"](images/bench-{name}.svg)" in page.read_text() for name in pictures)


def test_a_picture_names_all_systems_and_the_target(page: Path) -> None:
    picture = write(page)["bench-throughput.svg"]
    texts = {element.text for element in ElementTree.fromstring(picture).iter() if element.tag.endswith("text")}
    assert {"waybill", "fast", "slow", "21,000", "6,000", "440"} <= texts
    assert any("target: 3x the fastest (18,000)" in (text or "") for text in texts)


def test_the_same_results_give_the_same_bytes(page: Path) -> None:
    assert write(page) == write(page)


def test_the_tables_have_what_was_measured(page: Path) -> None:
    write(page)
    text = page.read_text()
    assert "| throughput | 21,000 | units | fast 6,000, slow 440 | 3.5x | 3x the fastest | yes |" in text
    assert "| one-step task | 40 | 12 | 17 | 20 | 0 | 9 | 98 |" in text
    assert "The 99th percentile is 1.1 ms. A sync of the store's disk took 0.12 ms in the same run." in text


def test_pictures_of_results_that_are_gone_are_removed(page: Path) -> None:
    write(page)
    page.with_name("latest.json").write_text("[]")
    assert write(page).keys() == {"performance.md"}


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no markers of results"):
        replaced("# A page", "results", "text")
