"""Chains and joins for systems that have none of their own, as their users build them on the Redis that they have.

A step enqueues the next one itself. Steps that join push their result onto a list of their group: whoever makes it
complete enqueues the join, which reads the whole list. The last step pushes its result onto the client's inbox, where
the client blocks, so it knows each result as soon as it is there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from peer_run import Answer, answer, items_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

TAKEN_AT_ONCE = 1_000
BLOCKED_SECONDS = 1.0
INBOX = "inbox"


async def leave_part(store: Redis, group: str, part: Answer) -> int:
    """Push a result onto the list of its group; return how many are there now."""
    return int(await store.rpush(f"parts:{group}", json.dumps(part)))


async def sum_parts(store: Redis, group: str) -> Answer:
    """Return the sum of what is on the list of a group."""
    parts = await store.lrange(f"parts:{group}", 0, -1)
    return answer(sum(items_of(json.loads(part)) for part in parts))


async def reply(store: Redis, found: Answer) -> None:
    """Push the result of a last step onto the client's inbox."""
    await store.rpush(INBOX, json.dumps(found))


async def replies(store: Redis, count: int) -> list[Answer]:
    """Wait for `count` results in the inbox."""
    found: list[Answer] = []
    while len(found) < count:
        taken = await store.blmpop(BLOCKED_SECONDS, 1, INBOX, direction="LEFT", count=TAKEN_AT_ONCE)
        if taken:
            found.extend(json.loads(one) for one in taken[1])
    return found
