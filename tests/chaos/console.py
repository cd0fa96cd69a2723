"""What the campaign tells people, on stderr: stdout is for its one line."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Tell people."""
    print(f"chaos: {text}", file=sys.stderr, flush=True)
