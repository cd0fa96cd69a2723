"""Kept readings: used while a file is what it was, made again for that file alone when it is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from waybill_worker.sources import corpus as corpus_module
from waybill_worker.sources import keeping
from waybill_worker.sources.corpus import Corpus, Sources
from waybill_worker.sources.files import FileState
from waybill_worker.sources.indexed import Indexed
from waybill_worker.sources.keeping import IndexSettings, edition, is_settled, open_shelf
from waybill_worker.sources.parser import Parser
from waybill_worker.sources.reading import index_source
from waybill_worker.sources.roots import Roots
from waybill_worker.sources.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    opened = Shelf.open(tmp_path / "shelf", edition(), 64 * 1024 * 1024)
    assert opened is not None
    return opened


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    for name in ("a.md", "b.md", "c.bin"):
        (folder / name).write_bytes(b"\0" if name == "c.bin" else f"The text of {name}.\n".encode())
    return folder


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were parsed."""
    names: list[str] = []

    def note(path: str, media_type: str, data: bytes, parser: Parser) -> tuple[Indexed, bool]:
        names.append(os.path.basename(path))
        return index_source(path, media_type, data, parser)

    monkeypatch.setattr(corpus_module, "index_source", note)
    return names


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is as good as old."""
    monkeypatch.setattr(keeping, "SETTLED_AFTER_NS", -(10**15))


def read(root: Path, shelf: Shelf | None) -> Corpus:
    return Sources([], [str(root)], Roots([root])).read(shelf=shelf)


@pytest.mark.usefixtures("settled")
def test_given_unchanged_files_then_none_is_parsed_or_even_opened_again(
    root: Path, shelf: Shelf, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(root, shelf)
    assert parsed == ["a.md", "b.md", "c.bin"]
    monkeypatch.setattr(keeping, "read_file_and_state", lambda place: pytest.fail(f"{place} was opened"))
    assert read(root, shelf) == first == Corpus(first.sources, (f"{root}/c.bin: is not text",))


@pytest.mark.usefixtures("settled")
def test_given_a_file_that_is_changed_added_or_removed_then_only_it_is_parsed(
    root: Path, shelf: Shelf, parsed: list[str]
) -> None:
    read(root, shelf)
    parsed.clear()
    (root / "a.md").write_text("Another text.\n")
    (root / "d.md").write_text("A new text.\n")
    (root / "b.md").unlink()
    again = read(root, shelf)
    assert parsed == ["a.md", "d.md"]
    assert [excerpt.text for excerpt in again.excerpts] == ["Another text.", "A new text."]


@pytest.mark.usefixtures("settled")
def test_a_file_that_was_only_touched_or_copied_over_itself_is_not_parsed_again(
    root: Path, shelf: Shelf, parsed: list[str]
) -> None:
    read(root, shelf)
    parsed.clear()
    os.utime(root / "a.md")
    (root / "b.new").write_bytes((root / "b.md").read_bytes())
    (root / "b.new").rename(root / "b.md")
    read(root, shelf)
    assert parsed == []


def test_given_a_change_that_leaves_no_trace_in_the_times_of_a_fresh_file_then_it_is_seen(
    root: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = FileState(1, 2, 3, time.time_ns(), time.time_ns())
    monkeypatch.setattr("waybill_worker.sources.walk.state_of", lambda status: frozen)
    monkeypatch.setattr("waybill_worker.sources.files.state_of", lambda status: frozen)
    (root / "a.md").write_text("The text of one.\n")
    before = Sources([], [str(root)], Roots([root]))
    assert "The text of one." in [excerpt.text for excerpt in before.read(shelf=shelf).excerpts]
    identity = before.identity
    (root / "a.md").write_text("The text of two.\n")
    after = Sources([], [str(root)], Roots([root]))
    assert "The text of two." in [excerpt.text for excerpt in after.read(shelf=shelf).excerpts]
    assert after.identity != identity


def test_a_state_is_settled_once_its_times_are_old() -> None:
    now = 10**18
    old, fresh = now - 3 * 10**9, now - 10**9
    assert is_settled(FileState(1, 2, 3, old, old), now)
    assert not is_settled(FileState(1, 2, 3, fresh, old), now)
    assert not is_settled(FileState(1, 2, 3, old, fresh), now)
    assert not is_settled(FileState(1, 2, 3, now + 10**12, old), now)


@pytest.mark.usefixtures("settled")
def test_one_file_under_two_names_of_other_formats_is_read_by_each(root: Path, shelf: Shelf) -> None:
    (root / "page.txt").write_text("# Title\n\nUnder it.\n")
    (root / "link.md").symlink_to("page.txt")
    for name, heading in (("page.txt", "Title"), ("link.md", "Title")):
        found = Sources([], [str(root / name)], Roots([root])).read(shelf=shelf)
        assert (found.excerpts[0].path, found.excerpts[0].heading) == (f"{root}/{name}", heading)


@pytest.mark.usefixtures("settled")
def test_given_damaged_or_foreign_contents_then_files_are_parsed_again(
    root: Path, shelf: Shelf, parsed: list[str], tmp_path: Path
) -> None:
    first = read(root, shelf)
    kept = [path for path in (tmp_path / "shelf").rglob("*") if path.is_file() and path.name != "sweeping.lock"]
    contents = [path.read_bytes() for path in kept]
    kept[0].write_bytes(b"")
    kept[1].write_bytes(contents[2])
    kept[2].write_bytes(contents[1])
    parsed.clear()
    assert read(root, shelf) == first
    assert sorted(parsed) == ["a.md", "b.md", "c.bin"]


def test_without_a_place_that_may_be_written_nothing_is_kept_and_nothing_fails(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WAYBILL_WORKER_INDEX_DIR", str(tmp_path / "file"))
    assert open_shelf() is None
    assert read(root, open_shelf()).source_count == 2


def test_the_default_place_is_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYBILL_WORKER_INDEX_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert open_shelf() is not None
    assert (tmp_path / "cache" / "waybill" / "index").is_dir()
    monkeypatch.setenv("WAYBILL_WORKER_INDEX_MAX_BYTES", "0")
    assert open_shelf() is None


def test_a_negative_bound_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_INDEX_MAX_BYTES", "-1")
    with pytest.raises(ValueError, match="index_max_bytes"):
        IndexSettings()
