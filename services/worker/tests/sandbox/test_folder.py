"""Folders of snippets: counted while they are used, and removed whatever was left in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waybill_worker.sandbox.folder import PREFIX, Folder, sweep


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A new folder."""
    return Folder.make(str(tmp_path))


def test_given_files_when_counted_then_all_of_them_and_their_blocks_are(folder: Folder) -> None:
    (Path(folder.path) / "a" / "b").mkdir(parents=True)
    (Path(folder.path) / "a" / "b" / "c").write_bytes(b"x" * 100_000)
    (Path(folder.path) / "link").symlink_to("/etc")

    total_bytes, files = folder.taken(500)

    assert (total_bytes >= 100_000, files) == (True, 4)
    assert folder.taken(2)[1] == 3
    folder.remove()


@settings(max_examples=10)
@given(depth=st.integers(0, 1_500), name=st.sampled_from(["d", "n" * 200]))
def test_given_folders_in_folders_when_removed_then_nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory, depth: int, name: str
) -> None:
    parent = tmp_path_factory.mktemp("deep")
    folder = Folder.make(str(parent))
    opened = os.open(folder.path, os.O_RDONLY)
    for _ in range(depth if len(name) == 1 else depth // 30):
        os.mkdir(name, 0o700, dir_fd=opened)
        inner = os.open(name, os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = inner
    os.close(opened)

    assert folder.taken(100)[1] <= 101
    folder.remove()

    assert os.listdir(parent) == []


def test_given_folders_without_permissions_and_links_out_when_removed_then_only_they_go(
    folder: Folder, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("x")
    inside = Path(folder.path)
    (inside / "closed").mkdir()
    (inside / "closed" / "file").write_text("x")
    (inside / "closed").chmod(0)
    (inside / "out").symlink_to(tmp_path)
    (inside / "file").symlink_to(kept)
    os.mkfifo(inside / "pipe")

    folder.remove()

    assert os.listdir(tmp_path) == ["kept"]


def test_given_folders_left_behind_when_swept_then_those_in_use_stay(tmp_path: Path) -> None:
    used, left = Folder.make(str(tmp_path)), Folder.make(str(tmp_path))
    (tmp_path / "other").mkdir()
    (tmp_path / f"{PREFIX}file").write_text("x")
    os.close(left._lock)

    assert sweep(str(tmp_path)) == 1

    assert sorted(os.listdir(tmp_path)) == sorted([os.path.basename(used.path), "other", f"{PREFIX}file"])
    used.remove()
