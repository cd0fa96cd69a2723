"""The server that owns a partition now: found on first use, forgotten when it fails, and looked up again now and then.

A demoted server may go on answering reads, and one that was cut off may even take writes. So nobody stays with an
owner for longer than a look takes, whether or not it fails.
"""

from __future__ import annotations

import asyncio
import time

from redis.exceptions import MovedError

from waybill.cancellation import cancel_all, retrieve
from waybill.errors import Unavailable, WaybillError
from waybill.ledger.discovery import Discovery
from waybill.ledger.node import ANSWER_TIMEOUT_SECONDS, Node
from waybill.ledger.replies import store_errors
from waybill.telemetry.logs import get_logger

_log = get_logger(__name__)

LOOK_SECONDS = 2.0
"""How long an owner is taken for granted before it is looked up again, in the background."""


class Owner:
    """The owner of one partition."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._node: Node | None = None
        self._finding: asyncio.Task[Node] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._missing = False

    @property
    def is_fixed(self) -> bool:
        """Whether it can never be another one."""
        return self._discovery.fixed

    def known(self) -> Node | None:
        """The owner, if it is known."""
        if self._node is not None and not self._discovery.fixed:
            self.look()
        return self._node

    async def node(self) -> Node:
        """The owner. Raises Unavailable if there is none now."""
        if self._node is not None:
            self.look()
            return self._node
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(self._find())
            self._finding.add_done_callback(retrieve)
        # Whoever asks meanwhile shares this search and its failure, and does not search again one after the other.
        return await asyncio.shield(self._finding)

    def is_owner(self, node: Node) -> bool:
        """Whether this is still the owner, as far as is known."""
        return node is self._node

    def look(self) -> None:
        """See whether the owner is another one by now, in the background. May be called at any rate."""
        if self._discovery.fixed or self._node is None or time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(self._node))

    async def moved(self, node: Node, refusal: MovedError) -> Node:
        """The owner by the word of a node that is not. Raises Unavailable if that cannot be."""
        url = self._discovery.moved_to(refusal.host, refusal.port, node)
        await self._replace(node, Node(url) if url != node.url else None)
        return await self.node()

    async def lost(self, node: Node, error: Exception) -> None:
        """Forget an owner that failed, so that the next call finds out who it is."""
        if not self._discovery.fixed and self._node is node:
            _log.warning("the store's owner failed", node=node.name, error=repr(error))
            await self._replace(node, None, error)

    async def close(self) -> None:
        """Close every connection."""
        await cancel_all([task for task in (self._finding, self._looking) if task is not None])
        if self._node is not None:
            await self._replace(self._node, None)

    async def _find(self) -> Node:
        try:
            node = await self._found()
        except WaybillError as error:
            if not self._missing:
                _log.warning("the store has no owner that can be reached", error=repr(error.__cause__ or error))
            self._missing = True
            raise
        if not self._discovery.fixed:
            _log.info("the store's owner", node=node.name)
        self._missing = False
        self._looked_at = time.monotonic()
        self._node = node
        return node

    async def _found(self) -> Node:
        node = Node(await self._discovery.owner())
        return node if self._discovery.fixed else await _checked(node)

    async def _look(self, node: Node) -> None:
        try:
            url = await self._discovery.owner()
            found = await _checked(Node(url)) if url != node.url else node
        except WaybillError:
            return  # the owner may be well though nobody can be asked
        finally:
            self._looked_at = time.monotonic()
        if found is node:
            return
        if found.run_id == node.run_id or self._node is not node:
            await found.close()  # one server may be known by several names
            return
        _log.warning("the store has another owner", node=found.name, before=node.name)
        await self._replace(node, found)

    async def _replace(self, old: Node, new: Node | None, because: Exception | None = None) -> None:
        """Have another owner, or none that is known, unless somebody else has seen to that already."""
        if self._node is old:
            self._node = new
            await old.close(because)


async def _checked(node: Node) -> Node:
    """The node itself. Raises Unavailable if it is no master: who was named may not know of it yet, or not any more."""
    try:
        with store_errors():
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                role, info = await node.replies([("ROLE",), ("INFO", "server")])
            for refusal in (role, info):
                if isinstance(refusal, Exception):
                    raise refusal
        if role[0] not in (b"master", "master"):
            raise Unavailable("the store has no master now; try again")
    except BaseException:
        await node.close()
        raise
    node.run_id = str(info["run_id"])
    return node
