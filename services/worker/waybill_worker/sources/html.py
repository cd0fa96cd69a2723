"""The part of an HTML page: the text that a reader sees, every line of it numbered as in the page's own source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from waybill_worker.sources.charsets import decode_page
from waybill_worker.sources.excerpts import BREAK, Block, Kind, Part, enter
from waybill_worker.sources.parsed import Note
from waybill_worker.sources.roots import Refusal

if TYPE_CHECKING:
    from lxml.etree import _Element

NO_TEXT = "has no visible text"
TOO_NESTED = "nests its elements too deeply to be read"

_UNSEEN = frozenset(
    [
        "script",
        "style",
        "template",
        "noscript",
        "nav",
        "head",
        "iframe",
        "object",
        "embed",
        "audio",
        "video",
        "canvas",
        "svg",
        "select",
        "datalist",
        "button",
        "input",
        "textarea",
        "progress",
        "meter",
        "map",
        "area",
    ]
)
_BLOCKS = frozenset(
    [
        "html",
        "body",
        "address",
        "article",
        "aside",
        "blockquote",
        "center",
        "details",
        "dialog",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "hr",
        "li",
        "main",
        "menu",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
        "caption",
    ]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_VERBATIM = frozenset({"pre", "listing", "xmp", "plaintext"})
_CELLS = frozenset({"td", "th"})
_MEANINGS = frozenset({"dd", "p", "div"})
"""What the meaning of a term may begin with."""
_HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\n\r\f]+")
_NEWLINES = re.compile(r"\r\n?")
_SUBSET = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<!doctype[^>\[]{0,1000}\[[^\]]*\]", re.IGNORECASE)
"""Declarations of entities at the head of a page: no browser reads them, and neither do we."""
_UNWANTED = re.compile("[\0\u2028\u2029\ufeff]")


def parts(data: bytes, media_type: str = "") -> Iterator[Part | Note]:
    """The page as one part, and a note if some of its characters could not be read.

    Raises `Refusal` if it has no text that is seen, or is not to be parsed.
    """
    text, replaced = decode_page(data, media_type)
    root = _parse(_without_declarations(_UNWANTED.sub(" ", _NEWLINES.sub("\n", text))))
    page = _Page(_layout_tables(root))
    page.read(root)
    part = page.part()
    if not part.blocks:
        raise Refusal(NO_TEXT)
    yield part
    if replaced:
        yield Note(f"{replaced:,} characters could not be decoded and were replaced")


def _without_declarations(text: str) -> str:
    subset = _SUBSET.match(text)
    return text if subset is None else "\n" * subset.group().count("\n") + "<!doctype html" + text[subset.end() :]


def _parse(text: str) -> _Element:
    from lxml import etree

    # The depth that remains is still limited, and what is large is limited before.
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, no_network=True)
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.LxmlError as error:
        raise Refusal(NO_TEXT) from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise Refusal(TOO_NESTED)
    if root is None:
        raise Refusal(NO_TEXT)
    return root


def _layout_tables(root: _Element) -> set[_Element]:
    """Tables that only arrange: others stand in them."""
    found: set[_Element] = set()
    for table in root.iter("table"):
        for outer in table.iterancestors("table"):
            if outer in found:
                break
            found.add(outer)
    return found


class _Page:
    """Writes the text of a page: one block for each paragraph, item, row and piece of code."""

    def __init__(self, layout_tables: set[_Element]) -> None:
        self._layout = layout_tables
        self._out: list[str] = []
        self._length = 0
        self._out_line = 1
        self._line = 1
        self._blocks: list[Block] = []
        self._start = -1
        self._opened = 0
        self._kind = Kind.PROSE
        self._prefix = ""
        self._wants_space = ""
        self._heading: list[str] | None = None
        self._trail: dict[int, str] = {}
        self._lists: list[int] = []
        self._verbatim = 0
        self._row: _Element | None = None
        self._term = False

    def part(self) -> Part:
        """What was read."""
        return Part("".join(self._out), tuple(self._blocks))

    def read(self, root: _Element) -> None:
        """Read an element with all in it, however deep: the stack is ours."""
        title = next(root.iter("title"), None)
        if title is not None and (shown := _folded(title.text or "")):
            self._trail[1] = shown
        stack: list[tuple[_Element, bool]] = [(root, False)]
        while stack:
            element, entered = stack.pop()
            if entered:
                self._leave(element)
            elif not isinstance(element.tag, str):
                self._line = max(self._line, element.sourceline or 1)
            elif _is_unseen(element):
                self._line = max(self._line, element.sourceline or 1)
                self._line += sum(text.count("\n") for text in element.itertext())
            else:
                stack.append((element, True))
                self._enter(element)
                stack += [(child, False) for child in reversed(element)]
                continue
            if element is not root:
                self._write(element.tail or "")
        self._flush()

    def _enter(self, element: _Element) -> None:
        tag = element.tag
        self._line = max(self._line, element.sourceline or 1)
        if tag in _HEADINGS:
            self._flush()
            self._heading = []
        elif tag == "br":
            self._break()
        elif tag in _BLOCKS or tag in _VERBATIM:
            self._enter_block(element, tag)
        self._write(element.text or "")

    def _enter_block(self, element: _Element, tag: str) -> None:
        if self._row is not None:
            if tag in _CELLS:
                self._show("| ", spaced=True)
            else:
                self._wants_space = " "
            return
        if self._term and tag in _MEANINGS:
            return
        self._flush()
        if tag == "tr" and self._is_data(element):
            self._row = element
            self._kind = Kind.TABLE
        elif tag in ("ul", "menu"):
            self._lists.append(-1)
        elif tag == "ol":
            self._lists.append(0)
        elif tag == "li":
            self._prefix = self._marker()
        elif tag in _VERBATIM:
            self._verbatim += 1
            self._kind = Kind.CODE

    def _leave(self, element: _Element) -> None:
        tag = element.tag
        if tag in _HEADINGS:
            if self._heading is not None and (title := _folded("".join(self._heading))):
                enter(self._trail, _HEADINGS[tag], title)
            self._heading = None
        elif self._row is not None:
            if element is self._row:
                if self._start >= 0:
                    self._wants_space = ""
                    self._show(" |")
                self._row = None
                self._flush()
            elif tag in _BLOCKS:
                self._wants_space = " "
        elif tag == "dt" and self._start >= 0:
            # A term and what it means read as one sentence.
            self._show("" if self._out[-1].endswith(":") else ":")
            self._wants_space = " "
            self._term = True
        elif tag in _BLOCKS or tag in _VERBATIM:
            if tag in ("ul", "menu", "ol") and self._lists:
                self._lists.pop()
            self._flush()
            self._prefix = ""
            self._verbatim -= tag in _VERBATIM

    def _is_data(self, row: _Element) -> bool:
        table = next(row.iterancestors("table"), None)
        if table is None or table in self._layout or table.get("role") in ("presentation", "none"):
            return False
        return sum(cell.tag in _CELLS for cell in row) > 1

    def _marker(self) -> str:
        if not self._lists:
            return "- "
        indent = "  " * (min(len(self._lists), 8) - 1)
        if self._lists[-1] < 0:
            return f"{indent}- "
        self._lists[-1] += 1
        return f"{indent}{self._lists[-1]}. "

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._heading is not None:
            self._heading.append(text)
            self._line += text.count("\n")
        elif self._verbatim and self._row is None:
            self._write_verbatim(text)
        else:
            self._write_folded(text)

    def _write_verbatim(self, text: str) -> None:
        if self._start < 0:
            # Blank lines before the first that holds something only move it down.
            shown = text.lstrip("\n")
            self._line += len(text) - len(shown)
            text = shown
        if text:
            self._show(text)
            self._line += text.count("\n")

    def _write_folded(self, text: str) -> None:
        position = 0
        for gap in _SPACE.finditer(text):
            if gap.start() > position:
                self._show(text[position : gap.start()])
            newlines = gap.group().count("\n")
            self._line += newlines
            if self._start >= 0:
                # In a row, a line end would end the row.
                self._wants_space = "\n" if newlines and self._row is None else self._wants_space or " "
            position = gap.end()
        if position < len(text):
            self._show(text[position:])

    def _break(self) -> None:
        if self._heading is not None:
            self._heading.append(" ")
        elif self._row is not None:
            self._wants_space = " "
        elif self._start >= 0:
            self._wants_space = BREAK

    def _show(self, text: str, *, spaced: bool = False) -> None:
        """Write visible text: where none stands in the block yet, the block begins, in its own line."""
        self._term = False
        if self._start < 0:
            self._begin()
        elif spaced:
            self._put(" ")
        elif self._wants_space != " " or not self._out[-1].endswith(" "):
            self._put(self._wants_space)
        self._wants_space = ""
        self._put(text)

    def _begin(self) -> None:
        if self._out:
            lines = max(0, self._line - self._out_line)
            self._put((BREAK * 2 if not lines else BREAK if lines == 1 else "") + "\n" * lines)
        else:
            self._put("\n" * (self._line - 1))
        self._start, self._opened = self._length, len(self._out)
        self._put(self._prefix)
        self._prefix = ""
        self._wants_space = ""

    def _put(self, text: str) -> None:
        if text:
            self._out.append(text)
            self._length += len(text)
            self._out_line += text.count("\n")

    def _flush(self) -> None:
        if self._start >= 0 and any(text.strip() for text in self._out[self._opened :]):
            self._blocks.append(Block(self._kind, " > ".join(self._trail.values()), self._start, self._length))
        self._start = -1
        self._term = False
        self._wants_space = ""
        self._kind = Kind.CODE if self._verbatim else Kind.PROSE


def _folded(text: str) -> str:
    return " ".join(text.split())


def _is_unseen(element: _Element) -> bool:
    if element.tag in _UNSEEN or "hidden" in element.attrib or element.get("aria-hidden", "").lower() == "true":
        return True
    return element.get("role") == "navigation" or bool(_HIDING.search(element.get("style", "")))
