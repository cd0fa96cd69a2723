"""Cursors of results: opaque texts that say up to where a stream was read."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from waybill.errors import InvalidArgument
from waybill.ledger.feed import FeedPlace

_TASK = r"[A-Za-z0-9-]{0,64}"
_CURSOR = re.compile(rf"r(\d{{1,15}}):({_TASK}):(\d{{1,15}}):(\d{{1,15}}):({_TASK})")
_LONGEST_CHARS = 400

NO_OTHER = (0, "")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a stream goes on: after a place in the feed. `other` is the newest told, as the time of its end and its id,
    of the named tasks that stand in no feed any more.
    """

    place: FeedPlace
    other: tuple[int, str] = NO_OTHER

    def text(self) -> bytes:
        """The cursor as callers keep it."""
        place = self.place
        return cursor_text(place.number, place.task, place.ended_ms, self.other)


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def cursor_text(number: int, task: str, ended_ms: int, other: tuple[int, str] = NO_OTHER) -> bytes:
    """The text of a cursor, made of its parts."""
    plain = f"r{number}:{task}:{ended_ms}:{other[0]}:{other[1]}"
    return binascii.b2a_base64(plain.encode(), newline=False).rstrip(b"=").translate(_URL_SAFE)


def cursor_of(text: str) -> Cursor:
    """The cursor that a caller kept. Raises InvalidArgument for a text that is none."""
    plain = ""
    if len(text) <= _LONGEST_CHARS:
        try:
            plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        except ValueError:
            plain = ""
    found = _CURSOR.fullmatch(plain)
    if found is None:
        raise InvalidArgument.of_field("cursor", "is no cursor of results; send one that a result came with, or none")
    number, task, ended_ms, other_ms, other = found.groups()
    return Cursor(FeedPlace(int(number), task, int(ended_ms)), (int(other_ms), other))
