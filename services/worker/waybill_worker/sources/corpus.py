"""The sources of a task as a whole: the documents sent with it and the files below its paths, cut into excerpts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from waybill.core.task import Document
from waybill.errors import SourceRefused
from waybill_worker.sources.excerpts import Excerpt
from waybill_worker.sources.files import FileState, read_file
from waybill_worker.sources.formats import EMPTY
from waybill_worker.sources.parser import Parser, Stopped
from waybill_worker.sources.reading import read_source
from waybill_worker.sources.roots import LEADS_OUT, NOT_ALLOWED, Refusal, Roots
from waybill_worker.sources.walk import HIDDEN, FoundFile, find

_MAX_NAMED = 5
_MAX_PATH_CHARS = 300
SAME_NAME = "left out, a document has the same name"
_REFUSALS = (LEADS_OUT, NOT_ALLOWED)

Identity = tuple[tuple[str, str | FileState], ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    """What could be read, in the order of the sources, and a warning for whatever could not."""

    excerpts: tuple[Excerpt, ...]
    warnings: tuple[str, ...]
    source_count: int


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

    @property
    def identity(self) -> Identity:
        """Equal for sources of equal content: the digests of the documents, the states of the files, and refusals."""
        documents = ((d.name, f"{d.media_type}:{hashlib.sha256(d.data).hexdigest()}") for d in self._documents)
        files = ((file.path, file.state) for file in self._files)
        return (*documents, *files, *self._refused)

    def read(self, stopped: Callable[[], bool] = lambda: False) -> Corpus:
        """Everything that can be read; gives up between two sources once `stopped` says so.

        Raises `SourceRefused` if no source at all is usable: its message gives every reason.
        """
        excerpts: list[Excerpt] = []
        refused = list(self._refused)
        count = 0
        with Parser(stopped) as parser, suppress(Stopped):
            for path, media_type, load in self._each():
                if stopped():
                    break
                try:
                    found = read_source(path, media_type, load(), parser)
                except Refusal as refusal:
                    refused.append((path, str(refusal)))
                    continue
                count += 1
                excerpts += found.excerpts
                refused += ((path, note) for note in found.notes)
        if not count and not stopped():
            _raise_unusable(refused, _warnings(refused, self._named))
        # An empty file somewhere in a folder is no failure of a source that anyone named.
        named = {*self._named, *(document.name for document in self._documents)}
        warnings = _warnings([item for item in refused if item[0] in named or item[1] != EMPTY], named)
        return Corpus(tuple(excerpts), tuple(warnings), count)

    def _each(self) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
        for document in self._documents:
            yield document.name, document.media_type, partial(bytes, document.data)
        for file in self._files:
            yield file.path, "", partial(read_file, file.place)


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
