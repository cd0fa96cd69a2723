"""The process that parses: it takes sources one after the other from stdin, and gives their parts on stdout.

Started as `python -m waybill_worker.sources.parsing`. It is held to limits of processor time and memory, writes no
files, and ends when its stdin does. What it is given may do to it what it likes: only this process ends.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from waybill_worker.sources import html, notebook, pdf
from waybill_worker.sources.excerpts import Part
from waybill_worker.sources.formats import Format
from waybill_worker.sources.parsed import Note
from waybill_worker.sources.roots import Refusal

CPU_SECONDS = 30
"""Processor time for one source."""
MEMORY_BYTES = 1024 * 1024 * 1024
"""Address space of the process, with the interpreter and the parsers in it."""
HEADER_BYTES = 4
TOO_MUCH_MEMORY = f"takes over {MEMORY_BYTES // 1024**2} MiB of memory to read"
UNREADABLE = "could not be parsed"
_NICE = 5


class Asked(msgspec.Struct, frozen=True):
    """A source to parse."""

    format: Format
    media_type: str
    data: bytes


class Told(msgspec.Struct, frozen=True):
    """A part of the source, or a note on it, or at the end whether it was refused, and why."""

    part: Part | None = None
    note: str = ""
    ended: bool = False
    refused: str = ""


def main() -> None:
    """Parse what comes until nothing more comes."""
    taken, given = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a parser prints must not end up between the answers.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    _hold()
    decoder = msgspec.msgpack.Decoder(Asked)
    encoder = msgspec.msgpack.Encoder()
    while (asked := receive(taken)) is not None:
        _allow(CPU_SECONDS)
        for told in _answers(decoder.decode(asked)):
            send(given, encoder.encode(told))
            # What was read so far counts, though this process may not live to read the rest.
            given.flush()


def receive(stream: BinaryIO) -> bytes | None:
    """The next message of a stream, or None at its end."""
    header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    length = int.from_bytes(header, "big")
    message = stream.read(length)
    return message if len(message) == length else None


def send(stream: BinaryIO, message: bytes) -> None:
    """Write a message with its length before it."""
    stream.write(len(message).to_bytes(HEADER_BYTES, "big"))
    stream.write(message)


def _answers(asked: Asked) -> Iterator[Told]:
    try:
        for found in _parts(asked):
            yield Told(part=found) if isinstance(found, Part) else Told(note=found.text)
        yield Told(ended=True)
    except Refusal as refusal:
        yield Told(ended=True, refused=str(refusal))
    except MemoryError:
        yield Told(ended=True, refused=TOO_MUCH_MEMORY)
    # Whatever a parser trips over is the file's fault, and nothing of it is anybody's to see.
    except Exception:
        yield Told(ended=True, refused=UNREADABLE)


def _parts(asked: Asked) -> Iterator[Part | Note]:
    match asked.format:
        case Format.HTML:
            return html.parts(asked.data, asked.media_type)
        case Format.PDF:
            return pdf.parts(asked.data)
        case Format.NOTEBOOK:
            return notebook.parts(asked.data)
        case _:
            raise Refusal(UNREADABLE)


def _hold() -> None:
    """Limit what this process may take, for good."""
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    os.nice(_NICE)


def _allow(seconds: int) -> None:
    """Let this process run for so much more processor time, and end it then."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    most = int(usage.ru_utime + usage.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    sys.setrecursionlimit(2_000)
    main()
