"""The order in which the pieces of a page are read: columns from left to right, each from top to bottom.

A PDF draws its text in any order, most often the right one. So that order is kept wherever the places of the text
allow it, and what was drawn as one stretch stays together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median_low

MAX_STRETCHES = 60
"""Pages of more stretches, such as drawings with labels, keep the order in which they were drawn."""
_CHARACTER_SHARE = 0.5
"""Width of a character as a share of its size, on average."""
_LEAST_SIZE = 1.0
_MOST_LINE_SIZES = 3.0
"""Lines that are further apart belong to different stretches."""
_PARAGRAPH_SHARE = 1.35
_OTHER_SIZE_SHARE = 1.15


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that was drawn at one place: from the left, and from the bottom, in points, with the size of its letters."""

    text: str
    x: float
    y: float
    size: float


@dataclass(slots=True)
class _Stretch:
    """Lines that were drawn one below the other, and where they stand."""

    pieces: list[Piece] = field(default_factory=list)
    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0

    def add(self, piece: Piece) -> None:
        size = max(piece.size, _LEAST_SIZE)
        right = piece.x + max(map(len, piece.text.split("\n"))) * size * _CHARACTER_SHARE
        first = not self.pieces
        self.left = piece.x if first else min(self.left, piece.x)
        self.right = right if first else max(self.right, right)
        self.top = piece.y + size if first else max(self.top, piece.y + size)
        self.bottom = piece.y if first else min(self.bottom, piece.y)
        self.pieces.append(piece)


def in_reading_order(pieces: Sequence[Piece]) -> str:
    """The text of the pieces, in the order drawn unless their places say that they are read in another one.

    A blank line parts paragraphs: what is further apart than lines are on that page, or of another size.
    """
    usual = _usual_drop(pieces)
    stretches = _stretches(pieces)
    ordered = _ordered(stretches) if 1 < len(stretches) <= MAX_STRETCHES else stretches
    if ordered == stretches:
        return _text(pieces, usual)
    return "\n\n".join(_text(stretch.pieces, usual).strip("\n") for stretch in ordered)


def _usual_drop(pieces: Sequence[Piece]) -> float:
    """How far most lines of a page stand below the one before."""
    shown = [piece for piece in pieces if piece.text.strip()]
    drops = [one.y - other.y for one, other in pairwise(shown) if 0 < one.y - other.y < _MOST_LINE_SIZES * one.size]
    return median_low(drops) if drops else 0.0


def _text(pieces: Sequence[Piece], usual: float) -> str:
    out: list[str] = []
    last: Piece | None = None
    for piece in pieces:
        if piece.text.strip():
            if last is not None and _parts(last, piece, usual):
                while out and not out[-1].strip():
                    out.pop()
                out[-1] = out[-1].rstrip()
                out.append("\n\n" + piece.text.lstrip())
            else:
                out.append(piece.text)
            last = piece
        elif out:
            out.append(piece.text)
    return "".join(out)


def _parts(one: Piece, other: Piece, usual: float) -> bool:
    """Whether a paragraph ends between a piece and the next."""
    drop = one.y - other.y
    if abs(drop) < other.size / 2:
        return False
    small, large = sorted((one.size, other.size))
    return drop < 0 or (bool(usual) and drop > _PARAGRAPH_SHARE * usual) or large > _OTHER_SIZE_SHARE * small


def _stretches(pieces: Sequence[Piece]) -> list[_Stretch]:
    found: list[_Stretch] = []
    last: Piece | None = None
    for piece in pieces:
        if not piece.text.strip():
            # White space has no place of its own.
            if found:
                found[-1].pieces.append(piece)
            continue
        size = max(piece.size, last.size if last else 0.0, _LEAST_SIZE)
        if last is None or piece.y > last.y + size / 2 or last.y - piece.y > _MOST_LINE_SIZES * size:
            found.append(_Stretch())
        found[-1].add(piece)
        last = piece
    return found


def _ordered(stretches: list[_Stretch]) -> list[_Stretch]:
    """Sorted so that whatever has to be read before comes before; else as drawn. A circle is broken as drawn."""
    count = range(len(stretches))
    before = {
        at: {other for other in count if other != at and _before(stretches[other], stretches[at], stretches)}
        for at in count
    }
    ordered: list[_Stretch] = []
    while before:
        free = next((at for at, others in before.items() if not others), next(iter(before)))
        del before[free]
        for others in before.values():
            others.discard(free)
        ordered.append(stretches[free])
    return ordered


def _before(one: _Stretch, other: _Stretch, all_of_them: Sequence[_Stretch]) -> bool:
    """Whether one has to be read before the other: it stands above, or in a column to the left."""
    if _share_width(one, other):
        return one.bottom + one.top > other.bottom + other.top
    if one.right > other.left:
        return False
    # What spans both columns ends them: what is below it on the left comes after what is above it on the right.
    return not any(
        _share_width(third, one) and _share_width(third, other) and one.top <= third.top < other.top
        for third in all_of_them
        if third is not one and third is not other
    )


def _share_width(one: _Stretch, other: _Stretch) -> bool:
    return one.left < other.right and other.left < one.right
