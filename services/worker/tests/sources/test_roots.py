"""What may be read: only what lies below a root, whatever the path looks like."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from waybill_worker.sources.files import NOT_REGULAR, look, open_folder, read_file
from waybill_worker.sources.roots import LEADS_OUT, MISSING, NOT_ALLOWED, Refusal, Roots


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder to allow, beside a secret one."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "keys.md").write_text("The key is under the mat.\n")
    folder = tmp_path / "library"
    (folder / "shelf").mkdir(parents=True)
    (folder / "shelf" / "book.md").write_text("A book holds pages.\n")
    return folder


def refusal(roots: Roots, path: str | Path) -> str:
    with pytest.raises(Refusal) as caught:
        read_file(roots.resolve(str(path)))
    return str(caught.value)


def test_a_file_below_a_root_is_read(library: Path) -> None:
    assert read_file(Roots([library]).resolve(str(library / "shelf" / "book.md"))) == b"A book holds pages.\n"


def test_a_relative_path_is_found_below_a_root(library: Path) -> None:
    assert read_file(Roots([library]).resolve("shelf/book.md")) == b"A book holds pages.\n"


def test_given_no_roots_then_everything_is_refused(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYBILL_WORKER_SOURCE_ROOTS", raising=False)
    assert refusal(Roots.from_environment(), library / "shelf" / "book.md") == NOT_ALLOWED


def test_roots_of_the_environment_are_separated_by_comma_or_path_separator(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = library.parent / "secret"
    for separator in (",", os.pathsep, " , "):
        monkeypatch.setenv("WAYBILL_WORKER_SOURCE_ROOTS", f"{library}{separator}{secret}")
        assert read_file(Roots.from_environment().resolve(str(secret / "keys.md")))


def test_an_absolute_path_elsewhere_is_refused_alike_whether_it_exists_or_not(library: Path) -> None:
    roots = Roots([library])
    assert refusal(roots, library.parent / "secret" / "keys.md") == NOT_ALLOWED
    assert refusal(roots, library.parent / "secret" / "nothing.md") == NOT_ALLOWED


def test_dots_that_lead_out_are_refused(library: Path) -> None:
    roots = Roots([library])
    assert refusal(roots, f"{library}/../secret/keys.md") == NOT_ALLOWED
    assert refusal(roots, "../secret/keys.md") == NOT_ALLOWED
    assert refusal(roots, f"{library}/shelf/../../secret/keys.md") == NOT_ALLOWED


def test_a_sibling_whose_name_begins_like_the_root_is_refused(library: Path) -> None:
    sibling = library.parent / "library-of-others"
    sibling.mkdir()
    (sibling / "book.md").write_text("Not yours.\n")
    assert refusal(Roots([library]), sibling / "book.md") == NOT_ALLOWED


def test_a_link_that_leads_out_is_refused(library: Path) -> None:
    (library / "file.md").symlink_to(library.parent / "secret" / "keys.md")
    (library / "folder").symlink_to(library.parent / "secret")
    roots = Roots([library])
    assert refusal(roots, library / "file.md") == LEADS_OUT
    assert refusal(roots, library / "folder" / "keys.md") == LEADS_OUT
    assert refusal(roots, "file.md") == LEADS_OUT


def test_a_link_that_stays_inside_is_followed(library: Path) -> None:
    (library / "favourite.md").symlink_to(library / "shelf" / "book.md")
    assert read_file(Roots([library]).resolve(str(library / "favourite.md"))) == b"A book holds pages.\n"


def test_a_root_that_is_a_link_allows_what_it_leads_to(library: Path) -> None:
    link = library.parent / "link"
    link.symlink_to(library)
    roots = Roots([link])
    assert read_file(roots.resolve(str(link / "shelf" / "book.md")))
    assert read_file(roots.resolve(str(library / "shelf" / "book.md")))


def test_a_root_that_is_a_file_allows_that_file_alone(library: Path) -> None:
    (library / "shelf" / "other.md").write_text("Another book.\n")
    roots = Roots([library / "shelf" / "book.md"])
    assert read_file(roots.resolve(str(library / "shelf" / "book.md")))
    assert refusal(roots, library / "shelf" / "other.md") == NOT_ALLOWED
    assert refusal(roots, library / "shelf") == NOT_ALLOWED


def test_what_is_missing_below_a_root_is_said_to_be_missing(library: Path) -> None:
    assert refusal(Roots([library]), library / "nothing.md") == MISSING
    assert refusal(Roots([library / "gone"]), library / "gone") == MISSING


@pytest.mark.parametrize("path", ["", "  ", "a\0b", "\ud800.md", "x" * 5_000])
def test_what_is_no_path_is_refused(library: Path, path: str) -> None:
    with pytest.raises(Refusal):
        look(Roots([library]).resolve(path))


def test_special_files_are_refused_without_blocking(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(library / "pipe.md")
    monkeypatch.chdir(library)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.md")
    roots = Roots([library, "/dev/zero"])
    assert refusal(roots, library / "pipe.md") == NOT_REGULAR
    assert refusal(roots, library / "socket.md") == NOT_REGULAR
    assert refusal(roots, "/dev/zero") == NOT_REGULAR


def test_a_folder_is_no_file(library: Path) -> None:
    assert refusal(Roots([library]), library / "shelf") == NOT_REGULAR


def test_given_a_link_put_in_the_way_after_the_check_when_read_then_it_is_refused(library: Path) -> None:
    roots = Roots([library])
    file, folder = roots.resolve(str(library / "shelf" / "book.md")), roots.resolve(str(library / "shelf"))
    (library / "shelf").rename(library / "moved")
    (library / "shelf").symlink_to(library.parent / "secret")
    (library.parent / "secret" / "book.md").write_text("Swapped.\n")
    with pytest.raises(Refusal):
        read_file(file)
    with pytest.raises(Refusal), open_folder(folder):
        pass


def test_given_a_file_swapped_for_a_link_after_the_check_when_read_then_it_is_refused(library: Path) -> None:
    place = Roots([library]).resolve(str(library / "shelf" / "book.md"))
    (library / "shelf" / "book.md").unlink()
    (library / "shelf" / "book.md").symlink_to(library.parent / "secret" / "keys.md")
    with pytest.raises(Refusal, match="leads out"):
        read_file(place)
