"""What a source is: by its first bytes where they tell, by its media type, by its name."""

from __future__ import annotations

import pytest
from waybill_worker.sources.formats import Format, format_of

HTML = b"\xef\xbb\xbf<!-- saved -->\n<!DOCTYPE html>\n<p>x"
PDF = b"%PDF-1.4\n"


@pytest.mark.parametrize(
    ("name", "media_type", "data", "expected"),
    [
        ("a.html", "", b"", Format.HTML),
        ("a.HTM", "", b"", Format.HTML),
        ("a", "text/html; charset=utf-8", b"", Format.HTML),
        ("a", "application/xhtml+xml", b"", Format.HTML),
        ("a.txt", "", HTML, Format.HTML),
        ("a", "application/octet-stream", b"\xff\xfe<\0h\0t\0m\0l\0>\0", Format.HTML),
        ("a.md", "", b"  <html lang=en>", Format.HTML),
        ("a.xml", "", b'<?xml version="1.0"?>\n<!doctype html>', Format.HTML),
        ("a.pdf", "", HTML, Format.HTML),
        ("a.ipynb", "", HTML, Format.HTML),
        ("a.php", "", HTML, Format.SLASH_COMMENTS),
        ("a.md", "", b"# Title\n\n<html> is a tag", Format.MARKDOWN),
        ("a.md", "", b"<htmlish>", Format.MARKDOWN),
        ("a", "application/pdf", b"", Format.PDF),
        ("a.txt", "text/plain", PDF, Format.PDF),
        ("a.html", "text/html", PDF, Format.PDF),
        ("a.pdf", "", b"junk\n" + PDF, Format.PDF),
        ("a.html", "text/html", b"<p>%PDF-1.4 is how PDFs begin", Format.HTML),
        ("a.md", "", b"How PDFs begin: " + b"%PDF-", Format.MARKDOWN),
        ("a.pdf", "", b"only words", Format.TEXT),
        ("a.ipynb", "", b"{}", Format.NOTEBOOK),
        ("a", "application/x-ipynb+json", b"{}", Format.NOTEBOOK),
        ("a.json", "", b"{}", Format.DATA),
        ("a.py", "", b"", Format.PYTHON),
        ("a", "", b"", Format.TEXT),
    ],
)
def test_the_format_of_a_source(name: str, media_type: str, data: bytes, expected: Format) -> None:
    assert format_of(name, media_type, data) is expected
