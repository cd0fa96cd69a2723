"""The fenced blocks of the documentation's pages."""

from __future__ import annotations

import re
from pathlib import Path

BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)


def blocks_of(page: Path) -> list[re.Match[str]]:
    """The blocks of a page, in order: `file`, `kind`, `code`."""
    return list(BLOCK.finditer(page.read_text()))
