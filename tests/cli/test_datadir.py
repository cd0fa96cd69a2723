"""A data directory belongs to one suite at a time, and a killed suite does not keep it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from waybill.cli.datadir import DataDirectory, SuiteNote, bound_log, log_tail, start_log
from waybill.errors import FailedPrecondition, InvalidArgument

NOTE = SuiteNote(4711, "127.0.0.1:7400", "http://127.0.0.1:7480", ("/srv/docs",))
HOLD = """
import sys, time
from pathlib import Path
from waybill.cli.datadir import DataDirectory
with DataDirectory(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(100)
"""


def test_given_a_suite_on_a_directory_then_a_second_one_is_refused_and_told_where_the_first_is(tmp_path: Path) -> None:
    with DataDirectory(tmp_path) as first:
        first.write_note(NOTE)
        with (
            pytest.raises(FailedPrecondition, match=r"process 4711, gRPC at 127.0.0.1:7400.*--data-dir") as refused,
            DataDirectory(tmp_path, lock_wait_seconds=0),
        ):
            pass
    assert refused.value.reason == "DATA_DIRECTORY_IN_USE"
    with DataDirectory(tmp_path, lock_wait_seconds=0):
        pass


def test_given_a_killed_holder_then_its_lock_is_gone_and_its_note_is_there(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        (tmp_path / "suite.json").write_bytes(
            b'{"pid":4711,"grpc_address":"127.0.0.1:7400","http_address":"http://127.0.0.1:7480",'
            b'"source_roots":["/srv/docs"]}'
        )
        holder.kill()
    with DataDirectory(tmp_path, lock_wait_seconds=0) as data:
        assert data.interrupted() == NOTE
        data.remove_note()
        assert data.interrupted() is None


def test_given_a_child_with_the_lock_then_the_directory_stays_taken_until_it_ends(tmp_path: Path) -> None:
    with DataDirectory(tmp_path) as data:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[data.lock_fd])
    with child:
        with pytest.raises(FailedPrecondition), DataDirectory(tmp_path, lock_wait_seconds=0):
            pass
        child.kill()
    with DataDirectory(tmp_path, lock_wait_seconds=0):
        pass


def test_a_path_that_cannot_be_a_directory_is_refused_by_its_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="--data-dir"), DataDirectory(tmp_path / "file" / "data"):
        pass


def test_a_log_starts_empty_with_the_one_before_kept_aside(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\n")
    start_log(log)
    assert log.read_text() == ""
    assert (tmp_path / "a.log.1").read_text() == "old\n"


def test_a_log_that_grew_too_long_is_moved_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    start_log(log)
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        bound_log(log, keep_bytes=100)
        assert log.stat().st_size == 100
        bound_log(log, keep_bytes=99)
        writer.write(b"after\n")
    assert log.read_text() == "after\n"
    assert (tmp_path / "a.log.1").stat().st_size == 100


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(os.urandom(100) + b"\n" + b"".join(b"line %d\n" % number for number in range(30_000)))
    assert log_tail(log, lines=2) == "line 29998\nline 29999"
