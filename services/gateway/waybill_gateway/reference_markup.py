"""HTML from text: everything is escaped, and descriptions are Markdown without HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{title}</title>
<link rel="icon" href="{root}console/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{root}docs/reference.css">
<script type="module" src="{root}docs/reference.js"></script>
</head>
<body data-root="{root}">
{body}
</body>
</html>
"""


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).disable(["image", "html_inline", "html_block"])


def page(title: str, root: str, body: str) -> str:
    """A whole page; `root` is how it refers to the gateway's root, such as `../`."""
    return _PAGE.format(title=escape(title), root=escape(root), body=body)


def prose(text: str) -> str:
    """A description, whose single line breaks are none."""
    return f'<div class="prose">{_markdown().render(text)}</div>' if text else ""


def line(text: str) -> str:
    """A description that stands in a line."""
    return str(_markdown().renderInline(text))


def code(text: str) -> str:
    """Text as code."""
    return f"<code>{escape(text)}</code>"


def block(value: Any) -> str:
    """A value as indented JSON; text as it is."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f'<pre tabindex="0"><code>{escape(text.rstrip())}</code></pre>'


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML; nothing without rows."""
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(f"<tr>{cells}</tr>" for cells in lines)
    shown = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return shown if lines else ""


def anchor(text: str) -> str:
    """The text as part of an id."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")
