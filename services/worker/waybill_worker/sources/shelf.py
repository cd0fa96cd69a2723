"""A bounded store of files that can be made again: what was not used for longest goes first, what is damaged is gone.

Any number of processes share one. A content is written aside and put in place in one step, so that nobody sees half
of it; it carries its own digest, so that a torn or changed one is taken for none. Where the disk can only be read, is
full, or belongs to somebody else, nothing is kept, and nobody fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_DIGEST_BYTES = 16
_LOCK_NAME = "sweeping.lock"
_TOUCH_AFTER_SECONDS = 3_600
_SWEPT_TO = 0.9
_MAX_SHARE = 0.5
"""Share of all room that one content may take."""
_LOCK_ASK_SECONDS = 0.1
_LOCK_WAIT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    size_bytes: int
    used_ns: int


class Shelf:
    """The contents of one edition, such as a version of what makes them. Other editions share the room, and age out."""

    def __init__(self, folder: Path, edition: str, max_bytes: int) -> None:
        self._folder = folder
        self._edition = folder / edition
        self._max_bytes = max_bytes

    @classmethod
    def open(cls, folder: Path, edition: str, max_bytes: int) -> Shelf | None:
        """The shelf in a folder that is ours alone, made if it is missing; None if there can be none."""
        if max_bytes <= 0:
            return None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
            if status.st_uid != os.geteuid():
                return None
            if stat.S_IMODE(status.st_mode) & 0o077:
                folder.chmod(0o700)
            (folder / edition).mkdir(mode=0o700, exist_ok=True)
        except OSError:
            return None
        return cls(folder, edition, max_bytes) if os.access(folder / edition, os.W_OK | os.X_OK) else None

    def get(self, section: str, key: str) -> bytes | None:
        """A content that was put, whole and unchanged, or None."""
        path = self._path(section, key)
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                kept = file.read()
        except OSError:
            return None
        content = kept[_DIGEST_BYTES:]
        if kept[:_DIGEST_BYTES] != _digest(content):
            self.drop(section, key)
            return None
        if time.time() - status.st_mtime > _TOUCH_AFTER_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(path)
        return content

    def put(self, section: str, key: str, content: bytes) -> bool:
        """Keep a content in place of the one before. False if it is not kept."""
        if len(content) > self._max_bytes * _MAX_SHARE:
            return False
        path = self._path(section, key)
        aside = path.with_name(f"{secrets.token_hex(8)}.new")
        try:
            _make_folder(path.parent)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_digest(content))
                file.write(content)
            os.replace(aside, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            return False
        return True

    def drop(self, section: str, key: str) -> None:
        """Keep a content no longer."""
        with contextlib.suppress(OSError):
            os.unlink(self._path(section, key))

    @contextlib.contextmanager
    def alone(self, key: str, stopped: Callable[[], bool]) -> Iterator[None]:
        """Make what belongs to a key while no other process does. Who waits too long, or may not lock, goes ahead."""
        descriptor = -1
        try:
            with contextlib.suppress(OSError):
                path = self._path("locks", key)
                _make_folder(path.parent)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                until = time.monotonic() + _LOCK_WAIT_SECONDS
                while not _locked(descriptor) and not stopped() and time.monotonic() < until:
                    time.sleep(_LOCK_ASK_SECONDS)
            yield
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def sweep(self) -> None:
        """Take out what was not used for longest until the rest fits."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._make_room()
            finally:
                os.close(descriptor)

    def _make_room(self) -> None:
        found = list(_files(str(self._folder)))
        total = sum(each.size_bytes for each in found)
        if total <= self._max_bytes:
            return
        for each in sorted(found, key=lambda item: (item.used_ns, item.path)):
            if total <= self._max_bytes * _SWEPT_TO:
                return
            with contextlib.suppress(OSError):
                os.unlink(each.path)
                total -= each.size_bytes
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(each.path))

    def _path(self, section: str, key: str) -> Path:
        return self._edition / section / key[:2] / key


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, each for us alone. Raises OSError."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        _make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _files(folder: str) -> Iterator[_Found]:
    """All files below a folder but the lock in it, with the room that they take on the disk."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif entry.name != _LOCK_NAME:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    yield _Found(entry.path, max(status.st_size, status.st_blocks * 512), status.st_mtime_ns)
