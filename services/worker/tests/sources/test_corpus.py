"""The sources of a task: what is read, in which order, and how the rest is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from waybill_worker.sources import walk
from waybill_worker.sources.corpus import Corpus, Sources
from waybill_worker.sources.files import MAX_FILE_BYTES
from waybill_worker.sources.roots import Roots

from waybill.core.task import Document
from waybill.errors import SourceRefused


def read(root: Path, *paths: str | Path, documents: tuple[Document, ...] = ()) -> Corpus:
    return Sources(documents, [str(path) for path in paths or (root,)], Roots([root])).read()


def document(name: str, text: str = "A document says something.", media_type: str = "text/plain") -> Document:
    return Document(name, media_type, text.encode())


def warning_about(corpus: Corpus, name: str) -> str:
    return next(warning for warning in corpus.warnings if name in warning)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.md", "a.md", "sub/c.md", "sub/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"This is {name} itself.\n")
    found = [excerpt.path for excerpt in read(tmp_path).excerpts]
    assert found == [f"{tmp_path}/{name}" for name in ("a.md", "b.md", "sub/a.txt", "sub/c.md")]


def test_paths_are_named_as_the_task_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("A text.\n")
    monkeypatch.chdir(tmp_path)
    assert read(tmp_path, "docs").excerpts[0].path == "docs/a.md"
    assert read(tmp_path, "docs/a.md").excerpts[0].path == "docs/a.md"


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Only once.\n")
    (tmp_path / "link.md").symlink_to("a.md")
    assert len(read(tmp_path, tmp_path, tmp_path / "a.md", tmp_path / "link.md").excerpts) == 1


def test_given_links_in_a_circle_when_walked_then_it_ends(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "sub" / "a.md").write_text("Only once.\n")
    assert len(read(tmp_path).excerpts) == 1


def test_hidden_and_generated_folders_are_skipped_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Seen by everyone.\n")
    for folder in (".git", "node_modules", ".venv", "sub/__pycache__"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "b.md").write_text("Not seen by anyone.\n")
    (tmp_path / ".env.md").write_text("A secret of mine.\n")
    corpus = read(tmp_path)
    assert [excerpt.text for excerpt in corpus.excerpts] == ["Seen by everyone."]
    assert corpus.warnings == (".env.md, .git, .venv, __pycache__, node_modules: skipped, hidden or generated",)


def test_what_cannot_be_read_is_named_and_the_rest_counts(tmp_path: Path) -> None:
    outside = tmp_path / "outside.md"
    outside.write_text("Not for you.\n")
    root = tmp_path / "root"
    root.mkdir()
    (root / "good.md").write_text("This one is good.\n")
    (root / "picture.png").write_bytes(b"\x89PNG\r\n\0\0")
    (root / "latin.txt").write_bytes("Übermut tut selten gut.\n".encode("latin-1"))
    (root / "paper.md").write_bytes(b"%PDF-1.7 and so on")
    (root / "out.md").symlink_to(outside)
    os.mkfifo(root / "pipe")
    with (root / "huge.txt").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    corpus = read(root, root, root / "missing.md", outside, f"{root}/../outside.md")
    assert [excerpt.text for excerpt in corpus.excerpts] == ["This one is good."]
    assert corpus.source_count == 1
    for name, reason in {
        "picture.png": "is not text",
        "paper.md": "is not a PDF that can be read",
        "latin.txt": "is not UTF-8 text",
        "out.md": "leads out",
        "pipe": "neither a file nor a folder",
        "huge.txt": "larger than 8 MiB",
        "missing.md": "does not exist",
        f"{outside}, ": "not below a folder that the operator allows",
        "../outside.md": "not below a folder that the operator allows",
    }.items():
        assert reason in warning_about(corpus, name)


def test_paths_of_the_task_are_all_named_and_the_many_below_them_counted(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("This one is good.\n")
    for number in range(20):
        (tmp_path / f"{number:02}.bin").write_bytes(b"\0")
    missing = [str(tmp_path / f"missing-{number}") for number in range(30)]
    corpus = read(tmp_path, tmp_path, *missing)
    assert all(path in warning_about(corpus, "missing") for path in missing)
    assert "00.bin" in warning_about(corpus, ".bin")
    assert "and 15 more: is not text" in warning_about(corpus, ".bin")


def test_documents_come_first_and_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("A file says something.\n")
    corpus = read(tmp_path, documents=(document("notes"),))
    assert [excerpt.path for excerpt in corpus.excerpts] == ["notes", f"{tmp_path}/a.md"]


def test_given_two_documents_of_one_name_then_the_first_counts_and_a_warning_tells(tmp_path: Path) -> None:
    corpus = Sources([document("a", "The first text."), document("a", "The second text.")], [], Roots([])).read()
    assert [excerpt.text for excerpt in corpus.excerpts] == ["The first text."]
    assert "same name" in warning_about(corpus, "a")


def test_a_document_that_is_no_text_is_refused_by_its_media_type() -> None:
    with pytest.raises(SourceRefused, match="scan: has the media type image/png") as caught:
        Sources([document("scan", media_type="image/png")], [], Roots([])).read()
    assert caught.value.reason == "NO_USABLE_SOURCE"


def test_given_only_refused_paths_then_the_failure_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="not below a folder that the operator allows") as caught:
        Sources([], [str(tmp_path)], Roots([])).read()
    assert caught.value.reason == "SOURCE_REFUSED"
    assert str(tmp_path) in caught.value.message


def test_given_no_source_at_all_then_the_failure_says_what_to_do() -> None:
    with pytest.raises(SourceRefused, match="send documents with it, or paths") as caught:
        Sources([], [], Roots([])).read()
    assert caught.value.reason == "NO_USABLE_SOURCE"


def test_an_empty_folder_or_file_is_no_usable_source(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="holds no file"):
        read(tmp_path)
    (tmp_path / "empty.md").touch()
    with pytest.raises(SourceRefused, match=r"empty\.md: is empty"):
        read(tmp_path)


def test_an_empty_file_is_a_warning_only_where_the_task_names_it(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("This one is good.\n")
    (tmp_path / "empty.md").touch()
    assert read(tmp_path).warnings == ()
    assert "is empty" in warning_about(read(tmp_path, tmp_path, tmp_path / "empty.md"), "empty.md")


def test_caps_on_files_leave_out_the_rest_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_FILES", 3)
    for number in range(5):
        (tmp_path / f"{number}.md").write_text("Something to read.\n")
    corpus = read(tmp_path)
    assert corpus.source_count == 3
    assert "too many" in warning_about(corpus, "4.md")


def test_the_identity_changes_with_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("One text.\n")

    def identity(text: str) -> object:
        return Sources([document("d", text)], [str(tmp_path)], Roots([tmp_path])).identity

    before = identity("x")
    assert identity("x") == before
    assert identity("y") != before
    (tmp_path / "a.md").write_text("Another text.\n")
    assert identity("x") != before


def test_what_a_folders_own_rules_leave_out_is_no_warning_until_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "drafts").mkdir()
    (tmp_path / "drafts" / "b.md").write_text("Not seen by anyone.\n")
    (tmp_path / ".gitignore").write_text("drafts/\n")
    (tmp_path / "a.md").write_text("Seen by everyone.\n")
    assert read(tmp_path).warnings == ()
    (tmp_path / "a.md").unlink()
    with pytest.raises(SourceRefused, match=r"drafts: left out by \.gitignore"):
        read(tmp_path)
