"""Where readings of files are kept between questions and processes, and when a kept one is still true.

A kept reading is used while the file is the one that was read: same place, device, inode, size and times. Where the
file had changed so shortly before that its times could hide another change, its bytes are read again and compared.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from waybill_worker.sources.files import FileState, read_file_and_state
from waybill_worker.sources.indexed import Indexed
from waybill_worker.sources.shelf import Shelf
from waybill_worker.sources.walk import FoundFile

SETTLED_AFTER_NS = 2_000_000_000
"""Age of a file's last change from which on a later one is sure to show in its times."""
_LIBRARIES = ("bm25s", "charset-normalizer", "lxml", "markdown-it-py", "numpy", "pypdf", "snowballstemmer")
_GIB = 1024**3


class IndexSettings(BaseSettings):
    """Where indexes of folders are kept; read by agents where they run, in whichever process that is."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_WORKER_", extra="ignore")

    index_dir: str = ""
    """Folder for what was read of files, so that it is not read again while they are unchanged. Default: the user's
    cache folder; `waybill up` and `waybill run` use their data directory."""
    index_max_bytes: int = Field(default=_GIB, ge=0)
    """Most bytes in that folder; what was not used for longest goes first. 0 keeps nothing."""


def open_shelf() -> Shelf | None:
    """The shelf of this process's environment, or None if nothing can be kept."""
    settings = IndexSettings()
    try:
        folder = Path(settings.index_dir) if settings.index_dir else _user_cache() / "waybill" / "index"
    except RuntimeError:
        return None
    return Shelf.open(folder, edition(), settings.index_max_bytes)


@cache
def edition() -> str:
    """Stands for all that decides what reading gives: our own modules for it, and the libraries that they use."""
    digest = hashlib.blake2b(digest_size=8)
    folder = Path(__file__).parent
    for path in (*sorted(folder.glob("*.py")), folder.parent / "agents" / "passage_index.py"):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for name in _LIBRARIES:
        digest.update(f"{name} {_version(name)}\0".encode())
    digest.update(sys.version.encode())
    return digest.hexdigest()


def is_settled(state: FileState, now_ns: int) -> bool:
    """Whether a change of the file after `now_ns` will show in its state."""
    return now_ns - max(state.modified_ns, state.changed_ns) > SETTLED_AFTER_NS


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    name: str
    state: FileState
    settled: bool
    digest: bytes
    indexed: Indexed


class Keeper:
    """Reads files by way of what is kept of them. Counts what it used again."""

    def __init__(self, shelf: Shelf | None) -> None:
        self._shelf = shelf
        self.reused = 0
        self.kept = 0

    def read(self, file: FoundFile, parse: Callable[[bytes], tuple[Indexed, bool]]) -> tuple[Indexed, bool]:
        """What a file gave, and whether it will always give that. Raises `Refusal` if it cannot be opened."""
        name = f"{file.place.path}\0{os.path.basename(file.path)}"
        section, key = _hex(file.place.root.path), _hex(name)
        kept = self._get(section, key, name)
        if kept is not None and kept.settled and kept.state == file.state:
            self.reused += not kept.indexed.refused
            return kept.indexed, True
        now_ns = time.time_ns()
        data, state = read_file_and_state(file.place)
        unchanged = state == file.state
        if self._shelf is None:
            found, lasting = parse(data)
            return found, lasting and unchanged
        digest = hashlib.blake2b(data, digest_size=32).digest()
        if kept is not None and kept.digest == digest:
            self.reused += not kept.indexed.refused
            found, lasting = kept.indexed, True
        else:
            found, lasting = parse(data)
        if lasting and state is not None:
            entry = _Kept(name, state, is_settled(state, now_ns), digest, found)
            self.kept += self._shelf.put(section, key, msgspec.msgpack.encode(entry))
        return found, lasting and unchanged

    def _get(self, section: str, key: str, name: str) -> _Kept | None:
        content = self._shelf.get(section, key) if self._shelf is not None else None
        if content is None:
            return None
        try:
            kept = msgspec.msgpack.decode(content, type=_Kept)
        except msgspec.MsgspecError:
            return None
        return kept if kept.name == name else None


def _hex(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _user_cache() -> Path:
    """The user's cache folder. Raises RuntimeError if there is no such user."""
    if named := os.environ.get("XDG_CACHE_HOME", ""):
        return Path(named)
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
