"""The indexes that are kept between questions: a few in memory, and those of unchanged folders on the disk."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from waybill.telemetry import metrics
from waybill_worker.agents.passage_index import PassageIndex
from waybill_worker.sources.corpus import Identity, Sources
from waybill_worker.sources.keeping import open_shelf
from waybill_worker.sources.shelf import Shelf

_SECTION = "indexes"
_MAX_KEPT = 4
_MAX_KEPT_CHARS = 64 * 1024 * 1024


class IndexCache:
    """The indexes used last, few and bounded in size. Who asks for one that is being built waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._building: dict[Identity, threading.Lock] = {}
        self._kept: OrderedDict[Identity, PassageIndex] = OrderedDict()

    def index_of(self, sources: Sources, stopped: Callable[[], bool]) -> PassageIndex:
        """The index of the sources, built unless it is kept. Raises what `Sources.read` raises."""
        identity = sources.identity
        with self._lock:
            building = self._building.setdefault(identity, threading.Lock())
        try:
            with building:
                return self._kept_or_built(identity, sources, stopped)
        finally:
            with self._lock:
                self._building.pop(identity, None)

    def _kept_or_built(self, identity: Identity, sources: Sources, stopped: Callable[[], bool]) -> PassageIndex:
        with self._lock:
            kept = self._kept.get(identity)
            if kept is not None:
                self._kept.move_to_end(identity)
                return kept
        index, lasting = _from_disk_or_built(sources, stopped)
        if lasting and not stopped():
            self._keep(identity, index)
        return index

    def _keep(self, identity: Identity, index: PassageIndex) -> None:
        with self._lock:
            self._kept[identity] = index
            while len(self._kept) > 1 and (
                len(self._kept) > _MAX_KEPT or sum(other.chars for other in self._kept.values()) > _MAX_KEPT_CHARS
            ):
                self._kept.popitem(last=False)


def _from_disk_or_built(sources: Sources, stopped: Callable[[], bool]) -> tuple[PassageIndex, bool]:
    """The index, and whether sources of the same identity have the same one."""
    # What was sent with a task belongs to that task alone, so no disk keeps it.
    shelf = open_shelf() if sources.only_paths else None
    if shelf is None:
        return _built(sources, stopped, None)
    key = _digest(sources.only_paths)
    identity = _digest(sources.identity).encode()
    # Whoever wants the same waits, and then finds it.
    with shelf.alone(key, stopped):
        started = time.monotonic()
        if (kept := _loaded(shelf, key, identity)) is not None:
            metrics.INDEX_SECONDS.labels("loaded").observe(time.monotonic() - started)
            metrics.SOURCES_READ.labels("reused").inc(kept.source_count)
            return kept, True
        index, lasting = _built(sources, stopped, shelf)
        if lasting and not stopped() and shelf.put(_SECTION, key, identity + index.saved()):
            shelf.sweep()
        return index, lasting


def _built(sources: Sources, stopped: Callable[[], bool], shelf: Shelf | None) -> tuple[PassageIndex, bool]:
    with metrics.INDEX_SECONDS.labels("built").time():
        corpus = sources.read(stopped, shelf)
        return PassageIndex.of(corpus), corpus.lasting


def _loaded(shelf: Shelf, key: str, identity: bytes) -> PassageIndex | None:
    content = shelf.get(_SECTION, key)
    if content is None or not content.startswith(identity):
        return None
    try:
        return PassageIndex.loaded(content[len(identity) :])
    except (ValueError, KeyError, IndexError):
        shelf.drop(_SECTION, key)
        return None


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
