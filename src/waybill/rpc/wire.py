"""The wire form of messages, as far as fast paths write it themselves: a message is the concatenation of its fields.

What is written here is what the generated classes would write, but for the order of fields, which does not matter: a
message that was put together from parts is the merge of those parts.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

_NUMBERS = (
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_BOOL,
)
_TEXTS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE)
_KEPT_SECONDS = 1_024


def varint(number: int) -> bytes:
    """A number of up to 64 bits; a negative one as its two's complement."""
    if 0 <= number < 16_384:
        return _SMALL[number]
    return _varint(number & 0xFFFF_FFFF_FFFF_FFFF)


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


_SMALL = tuple(_varint(number) for number in range(16_384))


def tag(message: Any, field: str) -> bytes:
    """What stands before each value of a field of a message class. Raises KeyError for a field that it has not."""
    found = message.DESCRIPTOR.fields_by_name[field]
    kind = {**dict.fromkeys(_NUMBERS, 0), **dict.fromkeys(_TEXTS, 2)}
    return varint(found.number << 3 | kind[found.type])


def sized(data: bytes) -> bytes:
    """The value of a text, of bytes or of a message: its size, then itself."""
    return varint(len(data)) + data


_SECONDS_TAG, _NANOS_TAG = b"\x08", b"\x10"
_NANOS = (b"", *(_NANOS_TAG + varint(milliseconds * 1_000_000) for milliseconds in range(1, 1_000)))
_seconds: dict[int, bytes] = {}


def sized_time(epoch_ms: int) -> bytes:
    """The value of a google.protobuf.Timestamp."""
    seconds, milliseconds = divmod(epoch_ms, 1_000)
    first = _seconds.get(seconds)
    if first is None:
        if len(_seconds) >= _KEPT_SECONDS:
            _seconds.clear()
        first = _seconds[seconds] = _SECONDS_TAG + varint(seconds) if seconds else b""
    written = first + _NANOS[milliseconds]
    return _SMALL[len(written)] + written
