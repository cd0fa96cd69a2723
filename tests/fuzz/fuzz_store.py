"""What a store holds, told by digests, and tasks in every state to send calls about."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import redis
from fuzz_calls import call, methods_of
from fuzz_suite import WORST_SECONDS, Suite
from ledger_hand import Hand, succeeded, undecodable

from waybill.api.v1 import gateway_pb2 as pb
from waybill.api.v1 import task_pb2
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger

RESTLESS = frozenset(
    {"pulse", "workers", "worker", "names", "serving", "held"} | {"queue", "queues", "ready", "waiting", "sweep"}
)
"""Kinds of keys that the tick changes too: heartbeats, and the queues that it refills and sweeps. What is in a queue
stands in its task as well.
"""
AGENTS = ("echo", "retriever", "analyst", "writer")
_LOOK_SECONDS = 0.05
_READS = {
    b"hash": lambda pipe, name: pipe.hgetall(name),
    b"zset": lambda pipe, name: pipe.zrange(name, 0, -1, withscores=True),
    b"set": lambda pipe, name: pipe.smembers(name),
    b"list": lambda pipe, name: pipe.lrange(name, 0, -1),
    b"stream": lambda pipe, name: pipe.xrange(name),
    b"string": lambda pipe, name: pipe.get(name),
}

Contents = Mapping[bytes, bytes]


def contents(client: redis.Redis) -> Contents:
    """A digest of the value of each key that only calls change."""
    names = [name for name in client.scan_iter(count=10_000) if _kind(name) not in RESTLESS]
    types = client.pipeline(transaction=False)
    values = client.pipeline(transaction=False)
    for name in names:
        types.type(name)
    held = [(name, kind) for name, kind in zip(names, types.execute(), strict=True) if kind in _READS]
    for name, kind in held:
        _READS[kind](values, name)
    found = zip(held, values.execute(), strict=True)
    return {name: hashlib.sha256(_plain(value)).digest() for (name, _), value in found}


def quiet_contents(client: redis.Redis) -> Contents:
    """The contents once nothing moves any more: goals are planned, and timers that were due have fired."""
    deadline, before = time.monotonic() + WORST_SECONDS, contents(client)
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        now = contents(client)
        if now == before and not client.exists(keys.key("0", "planning")):
            return now
        before = now
    raise AssertionError("the store never comes to rest")


def _kind(name: bytes) -> str:
    return name.decode().removeprefix(keys.prefix("0") + ":").partition(":")[0]


def _plain(value: Any) -> bytes:
    if isinstance(value, dict):
        value = sorted(value.items())
    return repr(sorted(value) if isinstance(value, set) else value).encode()


async def furnish(suite: Suite) -> list[str]:
    """Tasks in many states; the names of all that can be named. What runs them leaves again."""
    ledger = Ledger(suite.store.url)
    await ledger.connect()
    hand = await Hand(ledger, "hand", AGENTS).register()
    dead = submit(suite, step("a"))
    await hand.exchange(*map(undecodable, await hand.take()))
    done = submit(suite, step("a"))
    await hand.exchange(*map(succeeded, await hand.take()))
    torn = submit(suite, step("a"))
    (grant,) = await hand.take()
    await ledger.begin_effect(hand.id, grant.ref, "mail", "once")
    await hand.exchange(undecodable(grant))
    asked = task_pb2.PlanStep(
        name="ask", question=task_pb2.Question(prompt="Go on?", answer_schema='{"type":"object"}')
    )
    waiting, ready, paused = submit(suite, asked), submit(suite, step("a")), submit(suite, step("a"))
    send(suite, "PauseTask", pb.PauseTaskRequest(name=paused))
    await ledger.unregister(hand.id)
    await ledger.close()
    tasks = [dead, done, torn, waiting, ready, paused]
    steps = [f"{name}/steps/{'ask' if name == waiting else 'a'}" for name in tasks]
    with closing(suite.client()) as client:
        quiet_contents(client)
    return [*tasks, *steps, f"deadLetters/{dead.removeprefix('tasks/')}.1", "agents/echo", "mail", "known-request"]


async def drop_schedules(suite: Suite) -> None:
    """Delete the schedules of all tenants."""
    ledger = Ledger(suite.store.url)
    with closing(suite.client()) as client:
        names = [name.decode() for name in client.scan_iter(f"{keys.prefix('0')}:schedule:*", count=10_000)]
    for name in names:
        tenant, schedule_id = name.split(":")[-2:]
        await ledger.delete_schedule(tenant, schedule_id)
    await ledger.close()


def step(name: str, **fields: Any) -> task_pb2.PlanStep:
    """A step of the agent `echo`."""
    return task_pb2.PlanStep(name=name, agent="echo", **fields)


def submit(suite: Suite, *steps: task_pb2.PlanStep) -> str:
    """The name of a new task."""
    spec = task_pb2.TaskSpec(plan=task_pb2.Plan(steps=steps))
    return str(send(suite, "SubmitTask", pb.SubmitTaskRequest(spec=spec)).task.name)


def send(suite: Suite, name: str, request: Any) -> Any:
    """What the gateway answers to a call that it must not refuse."""
    method = next(method for method in methods_of("gateway") if method.name == name)
    answer = call(suite.services["gateway"], method, request.SerializeToString())
    assert answer.messages, answer
    return getattr(pb, f"{name}Response").FromString(answer.messages[0])
