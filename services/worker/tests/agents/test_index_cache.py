"""Kept indexes: answers are the same to the last byte, whatever was kept before and whatever became of it."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waybill_worker.agents.index_cache import IndexCache
from waybill_worker.agents.passage_index import PassageIndex
from waybill_worker.sources import keeping
from waybill_worker.sources.corpus import Sources
from waybill_worker.sources.keeping import open_shelf
from waybill_worker.sources.roots import Roots
from worker_files import code_cell, markdown_cell, notebook, text_pdf

from waybill.core.task import Document
from waybill.errors import SourceRefused

CONTENTS = {
    "a.md": b"# Kettles\n\nA kettle boils water.\n\n## Steel\n\nVinegar removes chalk from steel.\n",
    "b.txt": b"The kettle is made of steel. Water boils in the kettle.\n",
    "c.py": b'def boil():\n    """Boil the water of the kettle."""\n    return 100  # degrees of steel\n',
    "binary.md": b"\0kettle",
    "empty.md": b"",
    ".gitignore": b"b.*\n",
}
PARSED = {
    "page.html": b"<html><h1>Steel</h1>\n<p>A page about water in a kettle.</p><table><tr><td>a<td>b</table></html>",
    "paper.pdf": text_pdf("A paper on steel kettles.", "", "Water boils on page three."),
    "notes.ipynb": notebook(markdown_cell("# Steel\n\nNotes on a kettle."), code_cell("# Boil water.\nkettle = 1")),
    "broken.pdf": b"%PDF-1.7 broken",
}
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["write", "remove", "touch", "damage", "forget", "swap"]),
        st.sampled_from([*CONTENTS, "sub/a.md", "sub/d.md"]),
        st.sampled_from([*CONTENTS]),
    ),
    max_size=8,
)
QUESTIONS = ("kettle steel", "boiling water", "vinegar?", "nothing of that")


def answers(root: Path, *, cached: bool, documents: tuple[Document, ...] = ()) -> list[str]:
    """What every question gets, as bytes would be sent, by a process that remembers nothing."""
    with pytest.MonkeyPatch.context() as patch:
        if not cached:
            patch.setenv("WAYBILL_WORKER_INDEX_MAX_BYTES", "0")
        try:
            index = IndexCache().index_of(Sources(documents, [str(root)], Roots([root])), lambda: False)
        except SourceRefused as refused:
            return [refused.message]
    found = [[passage.model_dump_json() for passage in index.best(question, 12)] for question in QUESTIONS]
    return [repr((found, tuple(index.warnings), index.source_count))]


def apply(root: Path, shelf: Path, change: tuple[str, str, str]) -> None:
    what, name, other = change
    path = root / name
    kept = sorted(each for each in shelf.rglob("*") if each.is_file() and each.stat().st_size)
    match what:
        case "write":
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(CONTENTS[other])
        case "remove":
            path.unlink(missing_ok=True)
        case "touch" if path.exists():
            os.utime(path)
        case "damage" if kept:
            chosen = kept[len(name + other) % len(kept)]
            chosen.write_bytes(chosen.read_bytes()[:-3])
        case "forget" if kept:
            kept[len(name + other) % len(kept)].unlink()
        case "swap" if len(kept) > 1:
            kept[0].write_bytes(kept[-1].read_bytes())


@pytest.mark.parametrize("settled_after_ns", [-(10**15), 2 * 10**9])
@given(st.sets(st.sampled_from([*CONTENTS]), min_size=1), st.lists(CHANGES, min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_answers_with_and_without_what_was_kept_are_the_same(
    settled_after_ns: int, names: set[str], rounds: list[list[tuple[str, str, str]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root, shelf = Path(folder, "root"), Path(folder, "shelf")
        root.mkdir()
        patch.setenv("WAYBILL_WORKER_INDEX_DIR", str(shelf))
        # Both ways: every file is trusted at once by its times, or none is, since files of a test are fresh.
        patch.setattr(keeping, "SETTLED_AFTER_NS", settled_after_ns)
        for name in names:
            (root / name).write_bytes(CONTENTS[name])
        assert answers(root, cached=True) == answers(root, cached=False)
        for changes in rounds:
            for change in changes:
                apply(root, shelf, change)
            assert answers(root, cached=True) == answers(root, cached=False)
            assert answers(root, cached=True) == answers(root, cached=False)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files are trusted by their times, and an empty place for indexes."""
    monkeypatch.setenv("WAYBILL_WORKER_INDEX_DIR", str(tmp_path / "shelf"))
    monkeypatch.setattr(keeping, "SETTLED_AFTER_NS", -(10**15))
    folder = tmp_path / "root"
    folder.mkdir()
    for name, content in (CONTENTS | PARSED).items():
        (folder / name).write_bytes(content)
    return folder


def test_given_an_unchanged_folder_when_another_process_asks_then_nothing_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = answers(root, cached=True)
    assert first == answers(root, cached=False)
    monkeypatch.setattr(Sources, "read", lambda *args: pytest.fail("the sources were read"))
    assert answers(root, cached=True) == first


def test_documents_that_came_with_a_task_are_on_no_disk(root: Path, tmp_path: Path) -> None:
    secret = Document("mine.md", "", b"The kettle of my aunt is a secret.\n")
    answers(root, cached=True, documents=(secret,))
    assert not any(b"my aunt" in path.read_bytes() for path in (tmp_path / "shelf").rglob("*") if path.is_file())


def test_a_reading_that_was_stopped_is_not_kept(root: Path, tmp_path: Path) -> None:
    stopped = iter([False, False, True])
    index = IndexCache().index_of(Sources([], [str(root)], Roots([root])), lambda: next(stopped, True))
    assert index.source_count < 6
    assert answers(root, cached=True) == answers(root, cached=False)


def test_an_index_comes_back_from_its_bytes_as_it_was() -> None:
    chance = random.Random(1)
    words = ["kettle", "steel", "water", "chalk", "vinegar", "boil", "spout"]
    text = "\n\n".join(" ".join(chance.choices(words, k=9)) for _ in range(60)).encode()
    index = PassageIndex.of(Sources([Document("a.md", "", text)], [], Roots([])).read())
    again = PassageIndex.loaded(index.saved())
    for word in words:
        assert index.best(word, 100) == again.best(word, 100) != []
    assert again.saved() == index.saved()


def test_the_shelf_is_opened_where_the_setting_says(root: Path, tmp_path: Path) -> None:
    answers(root, cached=True)
    assert open_shelf() is not None
    assert (tmp_path / "shelf").stat().st_mode & 0o777 == 0o700
