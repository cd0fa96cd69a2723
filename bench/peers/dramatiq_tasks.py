"""The actors of dramatiq's run. Its workers and its client import this; `PEER_STORE` is the URL of their Redis."""

from __future__ import annotations

import json
import os

import dramatiq
import orjson
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Middleware, Pipelines, Retries
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from peer_processes import announce
from peer_run import Answer, answer, items_of

KEPT_MS = 600_000


class _Encoder(dramatiq.Encoder):
    def encode(self, data: dict[str, object]) -> bytes:
        return orjson.dumps(data)

    def decode(self, data: bytes) -> dict[str, object]:
        return orjson.loads(data)


class _Announcement(Middleware):
    def after_process_boot(self, broker: RedisBroker) -> None:
        announce()


# Without a limit, as a read of a result blocks for as long as its caller says.
store = redis.Redis.from_url(os.environ["PEER_STORE"], socket_timeout=None)
encoder = _Encoder()
results = RedisBackend(client=store, encoder=encoder)
dramatiq.set_encoder(encoder)
broker = RedisBroker(
    client=store,
    middleware=[
        _Announcement(),
        Pipelines(),
        Retries(),
        Results(backend=results, result_ttl=KEPT_MS),
    ],
)
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def task() -> Answer:
    """Do nothing, and answer."""
    return answer()


@dramatiq.actor
def link(given: Answer) -> Answer:
    """Add 1 to what the pipeline passes on."""
    return answer(items_of(given) + 1)


@dramatiq.actor
def spread(group: str, width: int, given: int, last: dict[str, object]) -> None:
    """Run all parts of a group; `last` runs after them."""
    dramatiq.group([part.message(group, width, given, last) for _ in range(width)]).run()


@dramatiq.actor
def part(group: str, width: int, given: int, last: dict[str, object]) -> None:
    """Add 1 and leave that; who leaves the last part enqueues the join."""
    if store.rpush(f"parts:{group}", json.dumps(answer(given + 1))) == width:
        broker.enqueue(dramatiq.Message(**last))


@dramatiq.actor(store_results=True)
def join(group: str) -> Answer:
    """Sum up the parts of a group."""
    return answer(sum(items_of(json.loads(one)) for one in store.lrange(f"parts:{group}", 0, -1)))
