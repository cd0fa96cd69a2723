"""Ends of asyncio tasks: bringing them about for certain, and letting them pass unheard."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

RETELL_SECONDS = 0.1


def retrieve(task: asyncio.Task[Any]) -> None:
    """To be called once the task is done: whoever waited may be gone, and a failure that nobody hears of is no news."""
    if not task.cancelled():
        task.exception()


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks that end when they are cancelled, and return once they have ended.

    Up to Python 3.11 `asyncio.wait_for`, which the store's client uses, can swallow a cancellation; so they are
    told until they listen.
    """
    while remaining := [task for task in tasks if not task.done()]:
        for task in remaining:
            task.cancel()
        await asyncio.wait(remaining, timeout=RETELL_SECONDS)
