"""What a source is, judged by its name, its media type and its bytes."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import PurePosixPath

from waybill_worker.sources.roots import Refusal

BINARY = "is not text"
NOT_UTF8 = "is not UTF-8 text"
EMPTY = "is empty"

_NEWLINES = re.compile(r"\r\n?")
_TEXT_MEDIA = re.compile(r"text/.+|application/(?:.+\+)?(?:json|xml|yaml|x-yaml|toml|javascript|x-sh|sql|x-ndjson)")
_OPAQUE_MEDIA = ("application/octet-stream", "binary/octet-stream")


class Format(StrEnum):
    """How a source is cut into passages."""

    MARKDOWN = "markdown"
    TEXT = "text"
    PYTHON = "python"
    HASH_COMMENTS = "hash"
    SLASH_COMMENTS = "slash"
    DASH_COMMENTS = "dash"
    DATA = "data"
    HTML = "html"
    PDF = "pdf"
    NOTEBOOK = "notebook"


PARSED = frozenset({Format.HTML, Format.PDF, Format.NOTEBOOK})
"""Formats whose text is not the bytes of the file: a process of its own takes it out of them."""


_SUFFIXES = {
    Format.MARKDOWN: "md markdown mdx mdown",
    Format.PYTHON: "py pyi",
    Format.HASH_COMMENTS: "sh bash zsh rb pl r yaml yml toml cfg ini conf mk tf cmake ps1 nix ex exs jl",
    Format.SLASH_COMMENTS: "c h cc cpp cxx hpp cs css scss go java js jsx mjs cjs kt kts m php proto rs scala swift ts"
    " tsx zig dart groovy gradle",
    Format.DASH_COMMENTS: "sql lua hs elm ada",
    Format.DATA: "json jsonl ndjson csv tsv xml svg lock log",
    Format.HTML: "html htm xhtml xht",
    Format.PDF: "pdf",
    Format.NOTEBOOK: "ipynb",
}
_BY_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_BY_NAME = {"makefile": Format.HASH_COMMENTS, "dockerfile": Format.HASH_COMMENTS}
_BY_MEDIA = {
    "text/markdown": Format.MARKDOWN,
    "text/x-markdown": Format.MARKDOWN,
    "text/x-python": Format.PYTHON,
    "application/json": Format.DATA,
    "text/csv": Format.DATA,
    "text/html": Format.HTML,
    "application/xhtml+xml": Format.HTML,
    "application/pdf": Format.PDF,
    "application/x-pdf": Format.PDF,
    "application/x-ipynb+json": Format.NOTEBOOK,
}
_PDF_MARK = b"%PDF-"
_PDF_MARK_WITHIN_BYTES = 1024
_HTML_WITHIN_BYTES = 2048
_HTML_MARK = re.compile(
    # Each of these can match in one way only, so that no beginning is tried twice.
    rb"(?:\xef\xbb\xbf)?\s*(?:(?:<\?xml[^>]{0,200}>|<!--(?:(?!-->).){0,1000}-->)\s*){0,8}(?:<!doctype\s+html\b|<html[\s>])",
    re.IGNORECASE | re.DOTALL,
)
_HTML_UTF16_MARK = re.compile(rb"(?:\xff\xfe|\xfe\xff)[\s\0]*<\0?(?:!\0?d|h\0?t\0?m\0?l)", re.IGNORECASE)
_MAY_BE_HTML = frozenset({Format.TEXT, Format.MARKDOWN, Format.DATA, Format.PDF, Format.NOTEBOOK})


def format_of(name: str, media_type: str = "", data: bytes = b"") -> Format:
    """The format of a source: what its first bytes say beyond doubt, else its media type, else the end of its name.

    Code stays code though it may begin like a page. What nothing tells is plain text.
    """
    named = _named(name, media_type)
    # Some PDFs begin with what a server or a mailer has put before them; a text may speak of PDFs.
    if data.startswith(_PDF_MARK) or (named is Format.PDF and _PDF_MARK in data[:_PDF_MARK_WITHIN_BYTES]):
        return Format.PDF
    head = data[:_HTML_WITHIN_BYTES]
    if named in _MAY_BE_HTML and (_HTML_MARK.match(head) or _HTML_UTF16_MARK.match(head)):
        return Format.HTML
    # What is called a PDF and is none may still be a text.
    return Format.TEXT if named is Format.PDF and media_type_of(media_type) not in _BY_MEDIA else named


def media_type_of(media_type: str) -> str:
    """A media type without its parameters, in small letters."""
    return media_type.partition(";")[0].strip().lower()


def _named(name: str, media_type: str) -> Format:
    media = media_type_of(media_type)
    if media in _BY_MEDIA:
        return _BY_MEDIA[media]
    path = PurePosixPath(name.lower())
    return _BY_NAME.get(path.name) or _BY_SUFFIX.get(path.suffix.removeprefix("."), Format.TEXT)


def decode(data: bytes, media_type: str = "") -> str:
    """The text of a source, every line ended by one newline character and no byte order mark.

    Raises `Refusal` for what is not UTF-8 text or has no visible character.
    """
    media = media_type_of(media_type)
    if media and media not in _OPAQUE_MEDIA and not _TEXT_MEDIA.fullmatch(media):
        raise Refusal(f"has the media type {media[:80]}, which is not read; send text")
    if b"\0" in data:
        raise Refusal(BINARY)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal(NOT_UTF8) from error
    if not text.strip():
        raise Refusal(EMPTY)
    return _NEWLINES.sub("\n", text)
