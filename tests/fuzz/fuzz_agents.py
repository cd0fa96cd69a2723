"""The agents of the suites under test."""

from __future__ import annotations

from typing import Any

from waybill import agent


@agent
async def echo(value: Any = None) -> Any:
    """Returns its input."""
    return value
