"""What reading one source gave, ready for an index and for being kept: its excerpts, their words, and what to tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from waybill_worker.sources.excerpts import Excerpt, Kind
from waybill_worker.sources.words import words_of


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """An excerpt without the path of its source, by which every task may know it in its own way."""

    line: int
    text: str
    kind: Kind
    heading: str
    page: int
    cell: int
    words: tuple[int, ...]
    """Its words in order, by their places in the vocabulary of the source."""


class Indexed(msgspec.Struct, frozen=True, array_like=True):
    """What one source gave, or why it was refused. The same bytes under the same name always give the same."""

    pieces: tuple[Piece, ...] = ()
    vocabulary: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refused: str = ""

    def excerpts(self, path: str) -> Iterator[Excerpt]:
        """The excerpts of the source under a path."""
        for piece in self.pieces:
            yield Excerpt(path, piece.line, piece.text, piece.kind, piece.heading, piece.page, piece.cell)


def indexed(excerpts: Iterable[Excerpt], notes: tuple[str, ...] = ()) -> Indexed:
    """The excerpts of one source with their words."""
    vocabulary: dict[str, int] = {}
    pieces = tuple(
        Piece(
            line=excerpt.line,
            text=excerpt.text,
            kind=excerpt.kind,
            heading=excerpt.heading,
            page=excerpt.page,
            cell=excerpt.cell,
            words=tuple(
                vocabulary.setdefault(word, len(vocabulary)) for word in words_of(f"{excerpt.heading} {excerpt.text}")
            ),
        )
        for excerpt in excerpts
    )
    return Indexed(pieces, tuple(vocabulary), notes)
