"""Finding the server that owns a partition: the one server there is, the Sentinels' master, or the owner of a slot.

Servers asked may be dead, cut off or behind: all are asked at once, and the answers are weighed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from redis.exceptions import AuthenticationError, RedisError

from waybill.errors import Unavailable
from waybill.ledger.address import Endpoint, Kind, StoreAddress
from waybill.ledger.node import ANSWER_TIMEOUT_SECONDS, Node
from waybill.ledger.replies import translate
from waybill.telemetry.logs import get_logger

_log = get_logger(__name__)

Answer = TypeVar("Answer")
MOST_ASKED = 5
"""Most servers that one look at a cluster asks."""


class Discovery(Protocol):
    """How the owner of a partition is found."""

    fixed: bool
    """Whether there is but one server, which owns everything for ever."""

    async def owner(self) -> str:
        """URL of the owner, as far as those say who answer now. Raises Unavailable if none does."""

    def moved_to(self, host: str, port: int, told_by: Node) -> str:
        """URL of the node that `told_by` named as the owner."""


class _NoCluster:
    """A store whose URL names no cluster. If one of its servers speaks like a cluster's, the URL is wrong."""

    def moved_to(self, host: str, port: int, told_by: Node) -> str:
        """Raises Unavailable: nothing here knows of slots. The log says what to do."""
        _log.error("the store is a cluster: WAYBILL_REDIS_URL must begin with redis+cluster://", node=told_by.name)
        raise Unavailable("the store cannot be reached; try again", reason="STORE_IS_A_CLUSTER")


class OneServer(_NoCluster):
    """A store that is one server."""

    fixed = True

    def __init__(self, address: StoreAddress) -> None:
        self._url = address.only_url()

    async def owner(self) -> str:
        """The one server."""
        return self._url


class Sentinels(_NoCluster):
    """The master that Sentinels watch."""

    fixed = False

    def __init__(self, address: StoreAddress) -> None:
        self._address = address

    async def owner(self) -> str:
        """The master by the newest configuration that any Sentinel who answers knows of."""
        answers = await ask([self._address.seed_url(seed) for seed in self._address.seeds], self._master)
        _, master = max(answers)
        return self._address.node_url(master)

    async def _master(self, sentinel: Node) -> tuple[int, Endpoint]:
        service = self._address.service
        asked = ("MASTER", "GET-MASTER-ADDR-BY-NAME")  # the first knows the epoch, the second a failover under way
        flat, master = await sentinel.replies([("SENTINEL", what, service) for what in asked])
        for refusal in (flat, master):
            if isinstance(refusal, Exception):
                raise refusal
        told = dict(zip(flat[::2], flat[1::2], strict=True))
        # A failover raises the epoch, so a Sentinel that was cut off during one is outvoted by any that was not.
        return int(told[b"config-epoch"]), Endpoint(master[0].decode(), int(master[1]))


class ClusterNodes:
    """The owner of one slot of a cluster."""

    fixed = False

    def __init__(self, address: StoreAddress, slot: int) -> None:
        self._address = address
        self._slot = slot
        self._known: set[Endpoint] = set()

    async def owner(self) -> str:
        """The owner that most who answer name. Seeds may be gone for good: nodes once met are asked too."""
        known = {*self._address.seeds, *self._known}
        asked = random.sample(sorted(known), min(MOST_ASKED, len(known)))
        answers = await ask([self._address.node_url(node) for node in asked], self._owner_by)
        owners = Counter(owner for owner, _ in answers if owner is not None)
        if not owners:
            raise Unavailable("the store has no master now; try again")
        self._known = {node for _, nodes in answers for node in nodes}
        return self._address.node_url(owners.most_common(1)[0][0])

    async def _owner_by(self, node: Node) -> tuple[Endpoint | None, set[Endpoint]]:
        owner: Endpoint | None = None
        nodes: set[Endpoint] = set()
        for first, last, *serving in await node.execute("CLUSTER", "SLOTS"):
            named = [Endpoint(_host(row[0], node), int(row[1])) for row in serving]
            nodes.update(named)
            if first <= self._slot <= last:
                owner = named[0]
        return owner, nodes

    def moved_to(self, host: str, port: int, told_by: Node) -> str:
        """The node that the refusal of a call named."""
        return self._address.node_url(Endpoint(_host(host.encode(), told_by), port))


def _host(name: bytes | None, told_by: Node) -> str:
    """A node that does not know its own name can be reached as the one that told of it was."""
    return name.decode() if name and name != b"?" else told_by.host


def discovery_of(address: StoreAddress, slot: int) -> Discovery:
    """How to find the owner of a slot in a store of this kind."""
    if address.kind is Kind.CLUSTER:
        return ClusterNodes(address, slot)
    return Sentinels(address) if address.kind is Kind.SENTINEL else OneServer(address)


async def ask(urls: Sequence[str], question: Callable[[Node], Awaitable[Answer]]) -> list[Answer]:
    """The answers of the servers that give one, once more than half have answered or none is left to.

    Raises Unavailable if none gives one, with the error of one of them as its cause.
    """
    asking = [asyncio.create_task(_ask_one(url, question)) for url in urls]
    answers: list[Answer] = []
    errors: list[Exception] = []
    try:
        for answering in asyncio.as_completed(asking):
            try:
                answers.append(await answering)
            except (RedisError, OSError) as error:
                errors.append(error)
            if len(answers) > len(urls) / 2:
                break
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    if not answers:
        # A refused login is for somebody to mend; that others are away as well is no news then.
        telling = max(errors, key=lambda error: isinstance(error, AuthenticationError))
        raise _nobody(telling) from telling
    return answers


def _nobody(error: Exception) -> Unavailable:
    known = translate(error)
    return known if isinstance(known, Unavailable) else Unavailable("the store has no master now; try again")


async def _ask_one(url: str, question: Callable[[Node], Awaitable[Answer]]) -> Answer:
    node = Node(url)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            return await question(node)
    finally:
        await node.close()
