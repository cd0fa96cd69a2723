"""Every key of the ledger, each with its type and lifetime. Nothing else builds a key: the function library gets
its own key table rendered from this one.

All keys begin with `waybill:{<partition>}`; the braces keep a partition in one Redis Cluster slot.
"""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "workers"
"""Consumer group of every queue."""


@dataclass(frozen=True, slots=True)
class Key:
    """One kind of key: what follows the partition prefix (`%s` for each argument), its Redis type, its lifetime."""

    suffix: str
    type: str
    lifetime: str


KEYS = {
    "task": Key(":task:%s", "hash", "until the task expires: its record, step specs, states, inputs and outputs"),
    "documents": Key(":documents:%s", "list", "until the task expires: documents sent with it, msgpack"),
    "events": Key(":events:%s", "list", "until the task expires: event n stands at position n, JSON"),
    "request": Key(":request:%s:%s", "string", "until the task expires: task id and fingerprint by tenant and request"),
    "index": Key(":index:%s", "zset", "task ids of a tenant by creation time; entries go when tasks expire"),
    "planning": Key(":planning", "zset", "tasks in PLANNING by the time they may be leased; empty at rest"),
    "decisions": Key(
        ":decisions", "zset", "task:step of conditions to be looked at, by the time they may be leased; empty at rest"
    ),
    "revising": Key(":revising", "zset", "tasks whose plan is to be revised, by the same time; empty at rest"),
    "timers": Key(
        ":timers", "zset", "what is due when: task:step:attempt; task:0:0 a deadline, task:0:1 a start; empty at rest"
    ),
    "expiry": Key(":expiry", "zset", "ended tasks by the time they expire"),
    "ended": Key(
        ":ended:%s", "zset", "ended tasks of a tenant by that time, where only so many are kept; go with them"
    ),
    "feed": Key(
        ":feed:%s", "zset", "ended tasks of a tenant by the order of their ends; go when they expire or run again"
    ),
    "feeds": Key(
        ":feeds", "hash", "the newest number of each tenant's feed, and as tenant:lost of what expired; for good"
    ),
    "unarchived": Key(
        ":unarchived", "zset", "ended tasks the archive lacks, by the time they may be leased; go with them"
    ),
    "call": Key(":call:%s:%s", "string", "a day: what was asked under a request id, by tenant and request"),
    "paused": Key(":paused", "set", "agent:name and tenant:name of all that is paused; until it is resumed"),
    "effects": Key(":effects:%s", "hash", "until the task expires: effects of its steps, as step:key"),
    "calls": Key(":calls:%s", "hash", "until the task expires: model calls as number:attempt:call, msgpack"),
    "artifacts": Key(":artifacts:%s", "hash", "until the task expires: prompts and responses, where they are kept"),
    "budget": Key(":budget:%s", "hash", "what a tenant may spend, has spent and has reserved; for good"),
    "usage": Key(":usage:%s:%s", "hash", "400 days: what a tenant used on a day (epoch days), by agent and model"),
    "limits": Key(":limits", "set", "names of all limits; for good, or until one is removed"),
    "limit": Key(
        ":limit:%s", "hash", "a limit: what was set, told and learned, and the levels of its buckets; for good"
    ),
    "permits": Key(":permits:%s", "zset", "permits of a limit by the time they lapse, by holder; empty at rest"),
    "lines": Key(":lines", "set", "limits in whose lines somebody stands; empty at rest"),
    "line": Key(":line:%s:%s", "zset", "tenants in the line of a limit, by priority and turn; gone when it is empty"),
    "lined": Key(":lined:%s:%s:%s", "zset", "who stands there of a tenant, by time; gone when nobody does"),
    "schedule": Key(":schedule:%s:%s", "hash", "a schedule by tenant and id: terms, spec, what is next; until deleted"),
    "schedules": Key(":schedules:%s", "zset", "ids of a tenant's schedules, all of score 0; until they are deleted"),
    "firings": Key(
        ":firings:%s:%s", "list", "the newest firings of a schedule, newest first, JSON; until it is deleted"
    ),
    "active": Key(":active:%s:%s", "set", "tasks of a schedule that have not ended; empty at rest"),
    "due": Key(":due", "zset", "tenant:schedule by the time to look at it; entries go when nothing more is due"),
    "dead": Key(":dead:%s", "zset", "dead letters of a tenant by time; entries go when dropped, retried or expired"),
    "letters": Key(":letters:%s", "hash", "those letters by id, JSON; fields go as in `dead`"),
    "queue": Key(":queue:%s:%s", "stream", "batches by agent and priority; empty at rest"),
    "queues": Key(":queues", "set", "agent:priority of every queue ever used, each with its consumer group"),
    "queued": Key(":queued", "set", "agent:priority of queues that may hold entries which nobody has read; for good"),
    "sweep": Key(":sweep", "set", "agent:priority of queues that may hold steps of stopped tasks; empty at rest"),
    "ready": Key(":ready:%s:%s", "zset", "tenants by turn; gone when the room is empty and the queue has space"),
    "waiting": Key(":waiting:%s:%s:%s", "list", "waiting steps by agent, priority and tenant; gone when empty"),
    "agents": Key(":agents", "hash", "announced agents by name, JSON; for good"),
    "pace": Key(":pace", "hash", "what batches are sized by: see `batch.lua`; for good"),
    "weights": Key(":weights", "hash", "weights of tenants, as the operator set them; for good"),
    "busy": Key(":busy", "set", "live workers whose slots are all taken; gone when there is none"),
    "serving": Key(":serving:%s", "set", "live workers of an agent; gone when there is none"),
    "workers": Key(":workers", "zset", "live workers by the time their heartbeat lapses"),
    "worker": Key(":worker:%s", "hash", "while the worker lives: its record and the last exchange it made"),
    "names": Key(":names", "hash", "live worker id by worker name"),
    "held": Key(":held:%s", "zset", "steps a worker has claimed, as task:step:attempt, by run deadline"),
    "pulse": Key(
        ":pulse",
        "hash",
        "the last tick: its time, the server's run id, whether the store is full; last revision of schedules",
    ),
    "policy": Key(":policy", "hash", "settings that the dispatcher writes and functions read; for good"),
    "bell": Key(
        *(":bell:%s", "channel"),
        "rung for new events of a task; `planning`, `decisions`, `revising` and `schedules` when one waits, "
        "feed:tenant when tasks of a tenant have ended",
    ),
    "control": Key(":control:%s", "channel", "steps that a worker must stop, as task:step:attempt"),
}


def prefix(partition: str) -> str:
    """What every key of a partition begins with; also the key that each function call declares."""
    return f"waybill:{{{partition}}}"


def key(partition: str, kind: str, *parts: str) -> str:
    """The key of one kind for these parts. Raises KeyError for a kind that does not exist."""
    return prefix(partition) + KEYS[kind].suffix % parts


def lua_table() -> str:
    """The key table as Lua source, for the function library."""
    rows = ",\n".join(f"  {kind} = '{spec.suffix}'" for kind, spec in KEYS.items())
    return f"local SUFFIX = {{\n{rows}\n}}\n"
