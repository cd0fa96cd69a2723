"""Reading one source: its format, its parts, and the excerpts that they are cut into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from waybill_worker.sources import code, markdown, plain
from waybill_worker.sources.excerpts import Block, Excerpt, Part, cut
from waybill_worker.sources.formats import PARSED, Format, decode, format_of
from waybill_worker.sources.indexed import Indexed, indexed
from waybill_worker.sources.parsed import Note
from waybill_worker.sources.parser import Parser, Passing
from waybill_worker.sources.roots import Refusal


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source gave, and what has to be told about the rest of it."""

    excerpts: tuple[Excerpt, ...]
    notes: tuple[str, ...] = ()
    lasting: bool = True
    """Whether the same bytes give the same again."""


def read_source(path: str, media_type: str, data: bytes, parser: Parser) -> Reading:
    """The excerpts of one source. Raises `Refusal` if it cannot be read, and `Stopped`."""
    kind = format_of(path, media_type, data)
    if kind not in PARSED:
        text = decode(data, media_type)
        return Reading(tuple(cut(path, Part(text, tuple(_blocks(text, kind))))))
    excerpts: list[Excerpt] = []
    notes: list[Note] = []
    for found in parser.parts(kind, media_type, data):
        if isinstance(found, Note):
            notes.append(found)
        else:
            excerpts += cut(path, found)
    return Reading(tuple(excerpts), tuple(note.text for note in notes), all(note.lasting for note in notes))


def index_source(path: str, media_type: str, data: bytes, parser: Parser) -> tuple[Indexed, bool]:
    """What one source gave, a refusal included, and whether it will always give that. Raises `Stopped`."""
    try:
        reading = read_source(path, media_type, data, parser)
    except Refusal as refusal:
        return Indexed(refused=str(refusal)), not isinstance(refusal, Passing)
    return indexed(reading.excerpts, reading.notes), reading.lasting


def _blocks(text: str, kind: Format) -> Iterator[Block]:
    match kind:
        case Format.MARKDOWN:
            return markdown.blocks(text)
        case Format.TEXT:
            return plain.blocks(text)
        case Format.DATA:
            return plain.whole(text)
        case _:
            return code.blocks(text, kind)
