"""What lies in the store itself: nothing that may run waits before an open queue, and nothing is left at rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import redis
from permanent_keys import PERMANENT

from waybill.core.task import Priority
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.stored import core_of


def check_waiting(client: redis.Redis, agents: Iterable[str], paused: Collection[str], window: int) -> None:
    """Steps that nobody paused wait only where no worker is idle that is not being woken up already, or the queue's
    window is full (the ledger's half of I8).
    """
    busy = client.smembers(keys.key("0", "busy"))
    for agent in agents:
        idle = len(client.smembers(keys.key("0", "serving", agent)) - busy)
        for priority in Priority:
            tenants = client.zrange(keys.key("0", "ready", agent, priority), 0, -1)
            if f"agent:{agent}" in paused:
                continue
            waiting = sum(
                client.llen(keys.key("0", "waiting", agent, priority, tenant.decode()))
                for tenant in tenants
                if f"tenant:{tenant.decode()}" not in paused
            )
            queued = client.xlen(keys.key("0", "queue", agent, priority))
            assert not waiting or queued >= min(window, idle), (
                f"{waiting} steps of {agent} wait, {idle} workers are idle"
            )


async def check_rest(ledger: Ledger, client: redis.Redis, tasks: Iterable[str]) -> None:
    """Nothing waits, is held or is due (I6); after the retention nothing of any task is left (I7)."""
    for worker in await ledger.workers():
        assert worker.held_steps == 0, worker
        await ledger.unregister(worker.id)
    # The permits of those who were called up, and then had no use for them, lapse within five seconds.
    for _ in range(6):
        ledger.clock_ms += 1_000
        await ledger.tick()
    for task in tasks:
        core = client.hget(keys.key("0", "task", task), "core")
        assert core is None or core_of(core)["running"] == 0
    for kind in ("timers", "planning", "decisions", "revising", "sweep", "paused", "lines"):
        assert not client.exists(keys.key("0", kind)), f"there is {kind} at rest"
    ledger.clock_ms += 700_000_000
    while await ledger.expire(100):
        pass
    for name in client.keys("*"):
        kind = name.decode().removeprefix(keys.prefix("0") + ":").partition(":")[0]
        assert kind in PERMANENT or client.pttl(name) > 0, f"{name!r} is left behind"
        if kind == "queue":
            assert client.xlen(name) == 0, f"{name!r} still has entries"
            assert client.xpending(name, keys.GROUP)["pending"] == 0, f"{name!r} has pending entries"
        if kind in ("budget", "usage"):
            assert int(client.hget(name, "reserved") or 0) == 0, f"{name!r} still has money reserved"
