"""The page of exit codes, from the place that knows them."""

from __future__ import annotations

from tables import table

from waybill.cli.exits import MEANINGS

_INTRODUCTION = """
# Exit codes

Every command ends with one of these. What went wrong, and what to do next, stands on stderr, after `waybill: `; stdout
has what was asked for and nothing else.
"""


def page() -> str:
    """The page."""
    return f"{_INTRODUCTION}\n{table(('code', 'what it says'), ((str(code), told) for code, told in MEANINGS.items()))}"
