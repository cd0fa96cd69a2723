"""The private folder of a snippet: watched while it runs, removed after it, and swept up if its owner was killed."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

PREFIX = "waybill-snippet-"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that nobody else has, for as long as its lock is held."""

    path: str
    _lock: int

    @classmethod
    def make(cls, parent: str = "") -> Folder:
        """A new folder. Raises OSError."""
        parent = parent or tempfile.gettempdir()
        while True:
            path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Whoever sweeps up may have come between, and taken it for one that was left behind.
            if os.path.isdir(path):
                return cls(path, lock)
            os.close(lock)

    def taken(self, most_files: int) -> tuple[int, int]:
        """How many bytes and how many files it has, as far as they can be counted; at most one file too many."""
        total_bytes = files = 0
        for entry in _entries(self.path, most_files + 1):
            files += 1
            try:
                total_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
            except OSError:
                continue  # it is gone, or its path is too long to be asked for; it counts as a file
        return total_bytes, files

    def remove(self) -> None:
        """Remove it with all that is in it, whatever that is."""
        try:
            remove(self.path)
        finally:
            os.close(self._lock)


def sweep(parent: str = "") -> int:
    """Remove the folders whose owners are dead; how many there were."""
    parent = parent or tempfile.gettempdir()
    removed = 0
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        if not name.startswith(PREFIX):
            continue
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # another user's, or gone
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path)
            removed += 1
        except OSError:
            continue  # in use
        finally:
            os.close(lock)
    return removed


def remove(path: str) -> None:
    """Remove a folder. However deep it is, no path gets long: what lies in it is moved up before it is looked into."""
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        _open_up(folder)
        for name in os.listdir(folder):
            entry = os.path.join(folder, name)
            if not stat.S_ISDIR(os.lstat(entry).st_mode):
                os.unlink(entry)
                continue
            _open_up(entry)
            waiting.append(os.path.join(path, f".{secrets.token_hex(8)}"))
            os.rename(entry, waiting[-1])
        if folder != path:
            os.rmdir(folder)
    os.rmdir(path)


def _entries(path: str, most: int) -> Iterator[os.DirEntry[str]]:
    """At most so many entries of a folder and of those in it."""
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        try:
            _open_up(folder)
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield entry
                    most -= 1
                    if most == 0:
                        return
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue


def _open_up(folder: str) -> None:
    """Let its owner look into a folder that was made with less."""
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        os.chmod(folder, stat.S_IRWXU)
