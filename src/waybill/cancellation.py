"""Ending asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

RETELL_SECONDS = 0.1


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks that end when they are cancelled, and return once they have ended.

    Up to Python 3.11 `asyncio.wait_for`, which the store's client uses, can swallow a cancellation; so they are
    told until they listen.
    """
    while remaining := [task for task in tasks if not task.done()]:
        for task in remaining:
            task.cancel()
        await asyncio.wait(remaining, timeout=RETELL_SECONDS)
