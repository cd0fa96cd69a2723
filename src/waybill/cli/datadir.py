"""Owns the data directory of a suite: its lock, its logs, and the note of what runs on it.

One suite at a time may use a directory. The lock is an flock, which the kernel drops with its holders, so a
killed suite leaves nothing to clean up; the store inherits it, so that nobody starts a second store on the files
of one that is still dying.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

import msgspec

from waybill.errors import FailedPrecondition, InvalidArgument

LOG_KEEP_BYTES = 16 * 1024 * 1024
"""A log that grows beyond this is moved aside once, replacing the one moved aside before."""
LOG_TAIL_LINES = 20
_LOCK_WAIT_SECONDS = 3.0
_LOCK_RETRY_SECONDS = 0.05


class SuiteNote(msgspec.Struct, frozen=True):
    """What runs on a data directory. Stays behind when a suite is killed, and tells the next one how to go on."""

    pid: int
    grpc_address: str
    http_address: str
    source_roots: tuple[str, ...] = ()


class DataDirectory:
    """A locked data directory. Use as a context manager; `lock_fd` may be handed to children."""

    def __init__(self, path: Path, *, lock_wait_seconds: float = _LOCK_WAIT_SECONDS) -> None:
        self.path = path.absolute()
        self.store = self.path / "store"
        self.logs = self.path / "logs"
        self.lock_fd = -1
        self._note = self.path / "suite.json"
        self._lock_wait_seconds = lock_wait_seconds

    def __enter__(self) -> DataDirectory:
        """Create and lock the directory.

        Raises `FailedPrecondition` if another suite uses it, `InvalidArgument` if it cannot be created.
        """
        try:
            for folder in (self.path, self.store, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.lock_fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidArgument.of_field(
                "--data-dir", f"{self.path} cannot be used ({error.strerror}): choose a folder that you may write to"
            ) from error
        try:
            self._lock()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        os.close(self.lock_fd)
        self.lock_fd = -1

    def _lock(self) -> None:
        give_up = time.monotonic() + self._lock_wait_seconds
        while True:
            try:
                fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise FailedPrecondition(self._in_use(), reason="DATA_DIRECTORY_IN_USE") from None
                time.sleep(_LOCK_RETRY_SECONDS)
            else:
                return

    def _in_use(self) -> str:
        note = self.interrupted()
        holder = f" (process {note.pid}, gRPC at {note.grpc_address})" if note else ""
        return f"another suite{holder} uses {self.path}: use that one, stop it, or choose another --data-dir"

    def interrupted(self) -> SuiteNote | None:
        """The note of a suite that did not end in order, or None."""
        try:
            return msgspec.json.decode(self._note.read_bytes(), type=SuiteNote)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def write_note(self, note: SuiteNote) -> None:
        """Tell what runs here; replaces the note atomically."""
        draft = self._note.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(note))
        draft.chmod(0o600)
        draft.replace(self._note)

    def remove_note(self) -> None:
        """The suite has ended in order."""
        self._note.unlink(missing_ok=True)


def start_log(path: Path) -> None:
    """Begin an empty log; the one before it is kept aside as `<name>.1`."""
    if path.exists():
        path.replace(_aside(path))
    path.touch(mode=0o600)


def bound_log(path: Path, keep_bytes: int = LOG_KEEP_BYTES) -> None:
    """Move a log that has grown too long aside. Its writer goes on: it appends, and finds the file empty."""
    if path.stat().st_size > keep_bytes:
        shutil.copyfile(path, _aside(path))
        os.truncate(path, 0)


def log_tail(path: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log."""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 64 * 1024))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".1")
