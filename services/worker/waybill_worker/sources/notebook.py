"""The parts of a notebook: each cell of Markdown or code, and the text that a cell gave, under the cell's number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from waybill_worker.sources import code, markdown, plain
from waybill_worker.sources.excerpts import Block, Kind, Part
from waybill_worker.sources.formats import EMPTY, NOT_UTF8, Format
from waybill_worker.sources.parsed import CUT_TEXT, MAX_PARSED_CHARS, Note
from waybill_worker.sources.roots import Refusal

MAX_CELLS = 10_000
MAX_OUTPUT_CHARS = 10_000
"""Most characters of the outputs of one cell."""
NO_NOTEBOOK = "is not a notebook: it has no cells as nbformat 3 or 4 has them"
TOO_MANY_CELLS = f"was cut, over {MAX_CELLS:,} cells are too many"
CUT_OUTPUTS = f"has outputs over {MAX_OUTPUT_CHARS:,} characters, which were cut"

_NEWLINES = re.compile(r"\r\n?")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LANGUAGES = {
    Format.HASH_COMMENTS: "r julia ruby perl bash sh powershell elixir sagemath",
    Format.SLASH_COMMENTS: "javascript typescript java scala kotlin c c++ cpp csharp c# f# go rust swift php",
    Format.DASH_COMMENTS: "sql haskell lua",
}
_BY_LANGUAGE = {name: kind for kind, names in _LANGUAGES.items() for name in names.split()}


def parts(data: bytes) -> Iterator[Part | Note]:
    """The cells that hold text, numbered from 1 with those that hold none. Raises `Refusal` if it is no notebook."""
    content = _loaded(data)
    cells = _cells(content)
    kind = _BY_LANGUAGE.get(_language(content), Format.PYTHON)
    trail: dict[int, str] = {}
    chars = found = 0
    cut: set[str] = set()
    for number, cell in enumerate(cells, 1):
        if number > MAX_CELLS:
            cut.add(TOO_MANY_CELLS)
            break
        for part in _parts(number, cell, kind, trail, cut):
            chars += len(part.text)
            if chars > MAX_PARSED_CHARS:
                break
            found += 1
            yield part
        if chars > MAX_PARSED_CHARS:
            cut.add(CUT_TEXT)
            break
    if not found:
        raise Refusal(EMPTY)
    yield from map(Note, sorted(cut))


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Refusal(NOT_UTF8) from error
    except (ValueError, RecursionError) as error:
        raise Refusal(NO_NOTEBOOK) from error


def _cells(content: Any) -> list[Any]:
    if isinstance(content, dict):
        sheets = content.get("worksheets")
        holders = [content, *(sheets if isinstance(sheets, list) else [])]
        found = [
            holder["cells"] for holder in holders if isinstance(holder, dict) and isinstance(holder.get("cells"), list)
        ]
        if found and isinstance(content.get("nbformat"), int):
            return [cell for cells in found for cell in cells]
    raise Refusal(NO_NOTEBOOK)


def _language(content: dict[str, Any]) -> str:
    metadata = content.get("metadata")
    for holder, name in (("language_info", "name"), ("kernelspec", "language")):
        inner = metadata.get(holder) if isinstance(metadata, dict) else None
        language = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(language, str):
            return language.lower()
    return ""


def _parts(number: int, cell: Any, kind: Format, trail: dict[int, str], cut: set[str]) -> Iterator[Part]:
    """The text of a cell, and what it gave if it is code; `trail` are the headings that cells stand under."""
    if not isinstance(cell, dict):
        return
    text = _text(cell.get("source", cell.get("input")))
    match cell.get("cell_type"):
        case "markdown":
            yield from _part(number, text, markdown.blocks(text, trail))
        case "code":
            heading = " > ".join(trail.values())
            yield from _part(number, text, _under(heading, code.blocks(text, kind)))
            given = _given(cell.get("outputs"), cut)
            yield from _part(number, given, [Block(Kind.CODE, heading, 0, len(given))])
        case "raw" | "heading":
            yield from _part(number, text, _under(" > ".join(trail.values()), plain.blocks(text)))


def _part(number: int, text: str, blocks: Iterator[Block] | list[Block]) -> Iterator[Part]:
    found = tuple(blocks) if text.strip() else ()
    if found:
        yield Part(text, found, cell=number)


def _under(heading: str, blocks: Iterator[Block]) -> Iterator[Block]:
    for block in blocks:
        above = " > ".join(title for title in (heading, block.heading) if title)
        yield Block(block.kind, above, block.start, block.end)


def _given(outputs: Any, cut: set[str]) -> str:
    """What a cell gave as text: printed, returned, or raised; pictures and pages are left out."""
    given: list[str] = []
    chars = 0
    for output in outputs if isinstance(outputs, list) else []:
        text = _COLOURS.sub("", _output(output)).strip("\n") if isinstance(output, dict) else ""
        if chars + len(text) > MAX_OUTPUT_CHARS:
            cut.add(CUT_OUTPUTS)
            text = text[: MAX_OUTPUT_CHARS - chars]
        chars += len(text)
        if text.strip():
            given.append(text)
    return "\n".join(given)


def _output(output: dict[str, Any]) -> str:
    if output.get("output_type") in ("error", "pyerr"):
        return f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
    data = output.get("data")
    shown = data.get("text/plain") if isinstance(data, dict) else None
    return _text(output.get("text") if shown is None else shown)


def _text(source: Any) -> str:
    """A text as notebooks hold it: whole, or in a list of lines."""
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    return _NEWLINES.sub("\n", source) if isinstance(source, str) else ""
