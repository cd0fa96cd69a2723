"""What parsing a source gives besides its parts, and how much of one source is taken."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PARSED_CHARS = 8_000_000
"""Most characters of text that are taken out of one source: what follows is cut off, and told."""
CUT_TEXT = f"was cut, over {MAX_PARSED_CHARS:,} characters of text are too many"


@dataclass(frozen=True, slots=True)
class Note:
    """What has to be told about a source of which something could be read."""

    text: str
    lasting: bool = True
    """Whether the same bytes give the same note again, whatever else the machine does."""
