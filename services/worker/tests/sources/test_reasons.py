"""What is counted of sources: few words, whatever names and texts the sources have."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import Counter
from waybill_worker.sources.corpus import Sources
from waybill_worker.sources.reasons import word_of
from waybill_worker.sources.roots import Roots
from waybill_worker.sources.shelf import Shelf

from waybill.telemetry import metrics


def value(counter: Counter, label: str) -> float:
    return float(counter.labels(label)._value.get())


def test_what_is_read_used_again_and_left_out_is_counted(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name, content in {
        "a.md": b"Words.\n",
        "b.md": b"\0",
        "c.md": b"",
        ".gitignore": b"d.md\n",
        "d.md": b"x",
    }.items():
        (root / name).write_bytes(content)
    shelf = Shelf.open(tmp_path / "shelf", "1", 2**20)
    skipped = ("not_text", "empty", "hidden", "ignored")
    before = [value(metrics.SOURCES_SKIPPED, reason) for reason in skipped]
    read, reused = value(metrics.SOURCES_READ, "parsed"), value(metrics.SOURCES_READ, "reused")
    for _ in range(2):
        Sources([], [str(root)], Roots([root])).read(shelf=shelf)
    assert value(metrics.SOURCES_READ, "parsed") == read + 1
    assert value(metrics.SOURCES_READ, "reused") == reused + 1
    assert [value(metrics.SOURCES_SKIPPED, reason) for reason in skipped] == [count + 2 for count in before]


def test_a_reason_that_holds_what_others_wrote_is_told_in_a_word() -> None:
    assert word_of("has the media type image/x-whatever, which is not read; send text") == "other"
    assert word_of("was cut, what follows takes over 30 seconds to read") == "cut"
    assert word_of("has no text on pages 2-3, which may be pictures such as scans") == "no_text_in_pages"
