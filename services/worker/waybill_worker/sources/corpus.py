"""The sources of a task as a whole: the documents sent with it and the files below its paths, cut into excerpts."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial

from waybill.core.task import Document
from waybill.errors import SourceRefused
from waybill_worker.sources.excerpts import Excerpt
from waybill_worker.sources.files import FileState, read_file
from waybill_worker.sources.formats import EMPTY
from waybill_worker.sources.ignoring import GIT_FILE, IGNORED, OWN_FILE
from waybill_worker.sources.indexed import Indexed
from waybill_worker.sources.keeping import Keeper, is_settled
from waybill_worker.sources.parser import Parser, Stopped
from waybill_worker.sources.reading import index_source
from waybill_worker.sources.reasons import tell
from waybill_worker.sources.roots import LEADS_OUT, NOT_ALLOWED, Refusal, Roots
from waybill_worker.sources.shelf import Shelf
from waybill_worker.sources.walk import HIDDEN, FoundFile, find

_MAX_NAMED = 5
_MAX_PATH_CHARS = 300
SAME_NAME = "left out, a document has the same name"
_REFUSALS = (LEADS_OUT, NOT_ALLOWED)

Identity = tuple[tuple[str, str | FileState | bytes], ...]


@dataclass(frozen=True)
class Corpus:
    """What could be read, in the order of the sources, and a warning for whatever could not."""

    sources: tuple[tuple[str, Indexed], ...]
    """Each source that could be read, under the path that the task knows it by."""
    warnings: tuple[str, ...]
    lasting: bool = True
    """Whether sources of the same identity give the same again."""

    @property
    def source_count(self) -> int:
        """How many sources could be read."""
        return len(self.sources)

    @cached_property
    def excerpts(self) -> tuple[Excerpt, ...]:
        """The excerpts of all sources in their order."""
        return tuple(excerpt for path, found in self.sources for excerpt in found.excerpts(path))


class Sources:
    """The sources that a task names, found but not read yet."""

    def __init__(self, documents: Sequence[Document], paths: Iterable[str], roots: Roots) -> None:
        self._documents: list[Document] = []
        self._refused: list[tuple[str, str]] = []
        self._named = dict.fromkeys(paths)
        names: set[str] = set()
        for document in documents:
            if document.name in names:
                self._refused.append((document.name, SAME_NAME))
                continue
            names.add(document.name)
            self._documents.append(document)
        findings = find(self._named, roots)
        self._refused += findings.refused
        self._files: list[FoundFile] = [file for file in findings.files if file.path not in names]
        self._refused += [(file.path, SAME_NAME) for file in findings.files if file.path in names]

    @cached_property
    def identity(self) -> Identity:
        """Equal for sources of equal content: the digests of the documents, the states of the files, and refusals.

        A file that changed just now could change again without a trace in its state, so its content counts too.
        """
        now_ns = time.time_ns()
        documents = ((d.name, f"{d.media_type}:{hashlib.sha256(d.data).hexdigest()}") for d in self._documents)
        files = ((file.path, file.state) for file in self._files)
        fresh = ((file.path, _content_of(file)) for file in self._files if not is_settled(file.state, now_ns))
        return (*(("", path) for path in self._named), *documents, *files, *fresh, *self._refused)

    @property
    def only_paths(self) -> tuple[str, ...]:
        """The paths that the task names, or nothing if it came with documents too."""
        return () if self._documents else tuple(self._named)

    def read(self, stopped: Callable[[], bool] = lambda: False, shelf: Shelf | None = None) -> Corpus:
        """Everything that can be read, by way of what the shelf keeps; gives up once `stopped` says so.

        Raises `SourceRefused` if no source at all is usable: its message gives every reason.
        """
        sources: list[tuple[str, Indexed]] = []
        refused = list(self._refused)
        keeper = Keeper(shelf)
        all_lasting = True
        with Parser(stopped) as parser, suppress(Stopped):
            for path, find_out in self._each(keeper, parser):
                if stopped():
                    break
                found, lasting = find_out()
                all_lasting = all_lasting and lasting
                if found.refused:
                    refused.append((path, found.refused))
                    continue
                sources.append((path, found))
                refused += ((path, note) for note in found.notes)
        if keeper.kept and shelf is not None:
            shelf.sweep()
        tell(len(sources), keeper.reused, refused)
        if not sources and not stopped():
            _raise_unusable(refused, _warnings(refused, self._named))
        named = {*self._named, *(document.name for document in self._documents)}
        warnings = _warnings([item for item in refused if item[0] in named or not _is_expected(*item)], named)
        return Corpus(tuple(sources), tuple(warnings), all_lasting)

    def _each(self, keeper: Keeper, parser: Parser) -> Iterator[tuple[str, Callable[[], tuple[Indexed, bool]]]]:
        for document in self._documents:
            yield document.name, partial(index_source, document.name, document.media_type, document.data, parser)
        for file in self._files:
            yield file.path, partial(_read_file, file, keeper, parser)


def _read_file(file: FoundFile, keeper: Keeper, parser: Parser) -> tuple[Indexed, bool]:
    try:
        return keeper.read(file, lambda data: index_source(file.path, "", data, parser))
    except Refusal as refusal:
        return Indexed(refused=str(refusal)), False


def _content_of(file: FoundFile) -> bytes:
    try:
        return hashlib.sha256(read_file(file.place)).digest()
    except Refusal:
        return b""


def _is_expected(path: str, reason: str) -> bool:
    """Whether nobody misses this somewhere in a folder: it is empty, or the folder's own rules leave it out."""
    return reason in (EMPTY, IGNORED) or (reason == HIDDEN and os.path.basename(path) in (GIT_FILE, OWN_FILE))


def _warnings(refused: Iterable[tuple[str, str]], named: Container[str]) -> list[str]:
    """One sentence for each reason; it names all that the task itself names, and the first of what lies below."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in refused:
        by_reason.setdefault(reason, []).append(path)
    warnings: list[str] = []
    for reason, paths in by_reason.items():
        shown = [path for path in paths if path in named]
        below = [path for path in paths if path not in named]
        if reason == HIDDEN:
            # The same few names turn up in folder after folder.
            below = sorted({os.path.basename(path) for path in below})
        more = len(below) - _MAX_NAMED
        names = ", ".join(_shortened(path) for path in shown + below[:_MAX_NAMED])
        warnings.append(f"{names}{f' and {more:,} more' if more > 0 else ''}: {reason}")
    return warnings


def _shortened(path: str) -> str:
    return path if len(path) <= _MAX_PATH_CHARS else path[:_MAX_PATH_CHARS] + "..."


def _raise_unusable(refused: Sequence[tuple[str, str]], warnings: Sequence[str]) -> None:
    if not refused:
        raise SourceRefused(
            "the task names no source: send documents with it, or paths below a folder that the operator allows",
            reason="NO_USABLE_SOURCE",
        )
    only_refusals = all(reason in _REFUSALS for _, reason in refused)
    reasons = "; ".join(warnings)
    raise SourceRefused(
        f"no usable source: {reasons}"[:1_900], reason="SOURCE_REFUSED" if only_refusals else "NO_USABLE_SOURCE"
    )
