"""The parts of a PDF: the text of each page that has some, in the order in which it is read."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from waybill_worker.sources.excerpts import Part
from waybill_worker.sources.parsed import CUT_TEXT, MAX_PARSED_CHARS, Note
from waybill_worker.sources.plain import blocks
from waybill_worker.sources.reading_order import Piece, in_reading_order
from waybill_worker.sources.roots import Refusal

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader
    from pypdf.generic import DictionaryObject

MAX_PAGES = 2_000
MAX_TREE_NODES = 10_000
DAMAGED = "is not a PDF that can be read, it is damaged or cut off"
ENCRYPTED = "is encrypted, and opens only with a password"
NO_TEXT = "has no text on any page that was read, such as a scan: recognise its text first"
_NAMED_RANGES = 8
_TRIPS = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
"""What a parser of hostile files may trip over, besides what it foresees."""
_INHERITED = ("/Resources", "/MediaBox", "/CropBox", "/Rotate")
_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st"}
    | dict.fromkeys("\0\ufeff\u2028\u2029", " ")
    | {"\xad": None}
)


def parts(data: bytes) -> Iterator[Part | Note]:
    """The pages that have text, numbered as they lie in the file, and notes on those that have none.

    Raises `Refusal` if the file cannot be read at all, asks for a password, or has no text.
    """
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = _open(data)
    without: list[int] = []
    unreadable: list[int] = []
    chars = found = 0
    notes: list[str] = []
    for number, page in enumerate(_pages(reader), 1):
        if number > MAX_PAGES:
            notes.append(f"was cut, over {MAX_PAGES:,} pages are too many")
            break
        try:
            text = _text_of(page)
        except MemoryError:
            raise
        # A parser of hostile files may trip over anything; the other pages are none the worse for it.
        except Exception:
            unreadable.append(number)
            continue
        if not text.strip():
            without.append(number)
            continue
        if chars + len(text) > MAX_PARSED_CHARS:
            notes.append(CUT_TEXT)
            break
        chars += len(text)
        found += 1
        yield Part(text, tuple(blocks(text)), page=number)
    if not found:
        raise Refusal(NO_TEXT if without else DAMAGED)
    if without:
        notes.append(f"has no text on {_ranges(without)}, which may be pictures such as scans")
    if unreadable:
        notes.append(f"could not be read on {_ranges(unreadable)}")
    yield from map(Note, notes)


def _open(data: bytes) -> PdfReader:
    from pypdf import PdfReader

    # What stands before the mark is not counted by the offsets in the file.
    start = data.find(b"%PDF-")
    try:
        reader = PdfReader(io.BytesIO(data[max(start, 0) :]), strict=False)
        opened = not reader.is_encrypted or bool(reader.decrypt(""))
    except MemoryError:
        raise
    except Exception as error:
        raise Refusal(DAMAGED) from error
    if not opened:
        raise Refusal(ENCRYPTED)
    return reader


@dataclass(frozen=True, slots=True)
class _Node:
    """A place in the tree of pages: what stands there, what it takes over, and the nodes that lead to it."""

    reference: Any
    inherited: dict[str, Any]
    above: frozenset[int]


def _pages(reader: PdfReader) -> Iterator[PageObject]:
    """The pages in order, one at a time: the tree may claim to have any number, and may hold itself."""
    from pypdf import PageObject
    from pypdf.errors import PyPdfError
    from pypdf.generic import DictionaryObject, IndirectObject

    try:
        stack = [_Node(reader.root_object.raw_get("/Pages"), {}, frozenset())]
    except Exception as error:
        raise Refusal(DAMAGED) from error
    for _ in range(MAX_TREE_NODES):
        if not stack:
            return
        at = stack.pop()
        # What cannot be read holds no page that could be.
        with suppress(*_TRIPS, PyPdfError):
            node = at.reference.get_object()
            if not isinstance(node, DictionaryObject) or id(node) in at.above:
                continue
            if "/Kids" in node and node.get("/Type") != "/Page":
                stack += _kids(node, at)
                continue
            page = PageObject(reader, at.reference if isinstance(at.reference, IndirectObject) else None)
            page.update(node)
            page.update({name: value for name, value in at.inherited.items() if name not in page})
            yield page


def _kids(node: DictionaryObject, at: _Node) -> list[_Node]:
    """What stands below a node, the first on top."""
    inherited = at.inherited | {name: node[name] for name in _INHERITED if name in node}
    above = at.above | {id(node)}
    kids = node["/Kids"]
    if not isinstance(kids, list):
        return []
    # References as they stand: what they lead to is read one at a time.
    return [_Node(kid, inherited, above) for kid in reversed(list(list.__iter__(kids))[:MAX_TREE_NODES])]


def _text_of(page: PageObject) -> str:
    pieces: list[Piece] = []

    def visit(text: str, cm: Any, tm: Any, _font: Any, size: Any) -> None:
        if text:
            x = float(tm[4]) * float(cm[0]) + float(tm[5]) * float(cm[2]) + float(cm[4])
            y = float(tm[4]) * float(cm[1]) + float(tm[5]) * float(cm[3]) + float(cm[5])
            pieces.append(Piece(text, x, y, abs(float(size or 0) * float(tm[3] or 1) * float(cm[3] or 1))))

    page.extract_text(visitor_text=visit)
    return in_reading_order(pieces).translate(_LIGATURES).strip("\n")


def _ranges(numbers: list[int]) -> str:
    """Page numbers as people write them, at most the first few stretches."""
    stretches: list[list[int]] = []
    for number in numbers:
        if stretches and stretches[-1][1] == number - 1:
            stretches[-1][1] = number
        else:
            stretches.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in stretches[:_NAMED_RANGES]]
    more = " and more" if len(stretches) > _NAMED_RANGES else ""
    return f"page{'s' if len(numbers) > 1 else ''} {', '.join(shown)}{more}"
