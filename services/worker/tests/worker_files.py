"""Small real files that tests make by code: PDFs, pages and notebooks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

Drawn = tuple[float, float, str]
"""From the left and from the bottom, in points, and the text."""


def lines_at(x: float, y: float, *lines: str, leading: float = 14.0) -> list[Drawn]:
    """Lines one below the other."""
    return [(x, y - number * leading, line) for number, line in enumerate(lines)]


def content_of(drawn: Iterable[Drawn], size: int = 12) -> bytes:
    """The content stream that draws the texts, each in a text object of its own."""
    commands = []
    for x, y, text in drawn:
        escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        commands.append(f"BT /F1 {size} Tf {x} {y} Td ({escaped}) Tj ET")
    return "\n".join(commands).encode("latin-1")


def pdf_of_objects(objects: Sequence[bytes], root: int = 1) -> bytes:
    """A PDF of numbered objects, from 1, with a table of where they are."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    out += f"trailer\n<< /Size {len(objects) + 1} /Root {root} 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()
    return bytes(out)


def stream_of(data: bytes, compressed: bool = True) -> bytes:
    """A stream object."""
    packed = zlib.compress(data) if compressed else data
    filters = b" /Filter /FlateDecode" if compressed else b""
    return f"<< /Length {len(packed)}".encode() + filters + b" >>\nstream\n" + packed + b"\nendstream"


def pdf(pages: Sequence[Iterable[Drawn]], *, compressed: bool = True) -> bytes:
    """A PDF of pages that draw texts; a page without any is like a scan."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] /MediaBox [0 0 595 842] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, drawn in enumerate(pages):
        resources = "/Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R {resources} /Contents {5 + 2 * number} 0 R >>".encode())
        objects.append(stream_of(content_of(drawn), compressed))
    return pdf_of_objects(objects)


def text_pdf(*pages: str) -> bytes:
    """A PDF with one text a page, line by line."""
    return pdf([lines_at(72, 770, *page.split("\n")) if page else [] for page in pages])


def encrypted(data: bytes, password: str, algorithm: str = "AES-256") -> bytes:
    """The same PDF, to be opened with a password."""
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(BytesIO(data)))
    writer.encrypt(password, owner_password="the owner's", algorithm=algorithm)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def markdown_cell(source: str | list[str]) -> dict[str, Any]:
    """A cell of Markdown."""
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code_cell(source: str | list[str], *outputs: dict[str, Any]) -> dict[str, Any]:
    """A cell of code with what it gave."""
    return {"cell_type": "code", "metadata": {}, "source": source, "execution_count": 1, "outputs": list(outputs)}


def stream_output(text: str | list[str]) -> dict[str, Any]:
    """What a cell printed."""
    return {"output_type": "stream", "name": "stdout", "text": text}


def result_output(text: str, **more: str) -> dict[str, Any]:
    """What a cell returned, as text and in other forms."""
    return {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": {"text/plain": text, **more}}


def notebook(*cells: dict[str, Any], language: str = "python") -> bytes:
    """A notebook of cells."""
    metadata = {"language_info": {"name": language}, "kernelspec": {"name": language, "display_name": language}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}).encode()
