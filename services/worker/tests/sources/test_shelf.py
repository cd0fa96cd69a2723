"""The shelf: whole contents or none, room that is kept to, and nobody who fails where nothing can be kept."""

from __future__ import annotations

import multiprocessing
import os
import stat
import threading
import time
from pathlib import Path

import pytest
from waybill_worker.sources.shelf import Shelf

MIB = 1024 * 1024


def open_shelf(folder: Path, edition: str = "1", max_bytes: int = MIB) -> Shelf:
    shelf = Shelf.open(folder, edition, max_bytes)
    assert shelf is not None
    return shelf


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "sweeping.lock"]


def test_what_was_put_is_given_and_replaced_and_belongs_to_its_edition(tmp_path: Path) -> None:
    shelf = open_shelf(tmp_path)
    assert shelf.get("a", "key") is None
    assert shelf.put("a", "key", b"one")
    assert shelf.put("a", "key", b"two")
    assert open_shelf(tmp_path).get("a", "key") == b"two"
    assert shelf.get("b", "key") is None
    assert open_shelf(tmp_path, "2").get("a", "key") is None
    assert len(files_of(tmp_path)) == 1


def test_nobody_else_may_look(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir(mode=0o755)
    shelf = open_shelf(folder)
    shelf.put("a", "key", b"mine")
    for path in (folder, *folder.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077


@pytest.mark.parametrize(
    "damage", [lambda kept: kept[:-1], lambda kept: b"", lambda kept: kept[:20] + b"x" + kept[21:]]
)
def test_a_damaged_content_is_none_and_is_thrown_away(tmp_path: Path, damage: object) -> None:
    shelf = open_shelf(tmp_path)
    shelf.put("a", "key", b"content" * 10)
    (path,) = files_of(tmp_path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert shelf.get("a", "key") is None
    assert not path.exists()


def test_what_was_not_used_for_longest_goes_first_until_the_rest_fits(tmp_path: Path) -> None:
    shelf = open_shelf(tmp_path, max_bytes=100_000)
    old = open_shelf(tmp_path, "of an older version", 100_000)
    old.put("a", "older", b"x" * 30_000)
    for number in range(4):
        shelf.put("a", f"{number}", b"x" * 30_000)
    for age, path in enumerate(sorted(files_of(tmp_path), key=lambda path: path.stat().st_mtime_ns, reverse=True)):
        os.utime(path, (time.time() - 10_000 - age * 100,) * 2)
    assert shelf.get("a", "0") is not None
    shelf.sweep()
    assert sum(path.stat().st_size for path in files_of(tmp_path)) <= 100_000
    assert [number for number in range(4) if shelf.get("a", f"{number}") is not None] == [0, 3]
    assert old.get("a", "older") is None


def test_what_would_take_most_of_the_room_is_not_kept(tmp_path: Path) -> None:
    shelf = open_shelf(tmp_path, max_bytes=1_000)
    assert not shelf.put("a", "key", b"x" * 600)
    assert files_of(tmp_path) == []


def test_where_nothing_can_be_kept_there_is_no_shelf(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Shelf.open(tmp_path / "file", "1", MIB) is None
    assert Shelf.open(tmp_path / "file" / "below", "1", MIB) is None
    assert Shelf.open(tmp_path, "1", 0) is None


def test_a_folder_of_somebody_else_is_no_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert Shelf.open(tmp_path, "1", MIB) is None


def test_given_a_shelf_that_is_removed_meanwhile_then_it_is_empty_and_can_be_used(tmp_path: Path) -> None:
    shelf = open_shelf(tmp_path / "shelf")
    shelf.put("a", "key", b"one")
    (tmp_path / "shelf").rename(tmp_path / "away")
    assert shelf.get("a", "key") is None
    shelf.sweep()
    assert shelf.put("a", "key", b"two")
    assert shelf.get("a", "key") == b"two"


def test_given_a_full_disk_then_nothing_is_kept_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = open_shelf(tmp_path)

    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    assert not shelf.put("a", "key", b"one")
    assert files_of(tmp_path) == []


def test_only_one_at_a_time_makes_what_belongs_to_a_key_and_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    shelf = open_shelf(tmp_path)
    entered = threading.Event()
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path,))
    process.start()
    while shelf.get("told", "held") is None:
        time.sleep(0.01)

    def enter() -> None:
        with shelf.alone("key", lambda: False):
            entered.set()

    waiting = threading.Thread(target=enter)
    waiting.start()
    with shelf.alone("another key", lambda: False):
        assert not entered.is_set()
    with shelf.alone("key", lambda: True):
        assert not entered.is_set()
    process.kill()
    process.join()
    waiting.join()
    assert entered.is_set()


def _hold(folder: Path) -> None:
    shelf = open_shelf(folder)
    with shelf.alone("key", lambda: False):
        shelf.put("told", "held", b"yes")
        time.sleep(600)


def test_processes_that_put_and_sweep_at_once_give_whole_contents_only(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_work, args=(tmp_path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    open_shelf(tmp_path, max_bytes=60_000).sweep()
    assert sum(path.stat().st_size for path in files_of(tmp_path)) <= 60_000


def _work(folder: Path, number: int) -> None:
    shelf = open_shelf(folder, max_bytes=60_000)
    for turn in range(60):
        key = f"{turn % 7}"
        shelf.put("a", key, key.encode() * (1_000 + 977 * ((turn * 31 + number) % 20)))
        found = shelf.get("a", f"{(turn + number) % 7}")
        if found is not None and set(found) != {ord(f"{(turn + number) % 7}")}:
            os._exit(1)
        if turn % 10 == number:
            shelf.sweep()
    os._exit(0)
