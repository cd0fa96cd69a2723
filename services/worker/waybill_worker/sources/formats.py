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


_SUFFIXES = {
    Format.MARKDOWN: "md markdown mdx mdown",
    Format.PYTHON: "py pyi",
    Format.HASH_COMMENTS: "sh bash zsh rb pl r yaml yml toml cfg ini conf mk tf cmake ps1 nix ex exs jl",
    Format.SLASH_COMMENTS: "c h cc cpp cxx hpp cs css scss go java js jsx mjs cjs kt kts m php proto rs scala swift ts"
    " tsx zig dart groovy gradle",
    Format.DASH_COMMENTS: "sql lua hs elm ada",
    Format.DATA: "json jsonl ndjson csv tsv xml html htm svg lock log ipynb",
}
_BY_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_BY_NAME = {"makefile": Format.HASH_COMMENTS, "dockerfile": Format.HASH_COMMENTS}
_BY_MEDIA = {
    "text/markdown": Format.MARKDOWN,
    "text/x-markdown": Format.MARKDOWN,
    "text/x-python": Format.PYTHON,
    "application/json": Format.DATA,
    "text/csv": Format.DATA,
    "text/html": Format.DATA,
}


def format_of(name: str, media_type: str = "") -> Format:
    """The format of a source: its media type if that tells, else the end of its name, else plain text."""
    media = media_type.partition(";")[0].strip().lower()
    if media in _BY_MEDIA:
        return _BY_MEDIA[media]
    path = PurePosixPath(name.lower())
    return _BY_NAME.get(path.name) or _BY_SUFFIX.get(path.suffix.removeprefix("."), Format.TEXT)


def decode(data: bytes, media_type: str = "") -> str:
    """The text of a source, every line ended by one newline character and no byte order mark.

    Raises `Refusal` for what is not UTF-8 text or has no visible character.
    """
    media = media_type.partition(";")[0].strip().lower()
    if media and media not in _OPAQUE_MEDIA and not _TEXT_MEDIA.fullmatch(media):
        raise Refusal(f"has the media type {media[:80]}, which is not read; send text")
    if b"\0" in data or data.startswith(b"%PDF-"):
        raise Refusal(BINARY)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal(NOT_UTF8) from error
    if not text.strip():
        raise Refusal(EMPTY)
    return _NEWLINES.sub("\n", text)
