"""The page of events: their types and fields."""

from __future__ import annotations

from collections.abc import Iterator

import contracts
from tables import code, table

_INTRODUCTION = """
# Events

An event is one structured record of progress. The events of a task are numbered 1, 2, 3 and so on without gaps; the
number is its `sequence`. The last event of every task that has ended is `task_finished`; a task that is retried goes on
after it.

Over HTTP and on the command line an event is one flat JSON object, with the fields that are set and no others:

```text
{"sequence":4,"time":"2026-11-24T01:39:26.061Z","type":"step_started","step":"retrieve-1","attempt":1,"agent":"retriever","worker":"worker-1.d93e3c6ba4c4"}
```

Over gRPC an event is the message `TaskEvent`. As Server-Sent Events, `id:` is the sequence and the digest, such as
`4.0a1b2c3d`, `event:` the type, and `data:` the object.

## Types
"""

_SSE = """
`stream_reset` is no event of the task: it has no number, and tells a watcher that a failover of the store lost events
that it had seen. Forget what was folded so far: the history follows from number 1.

An event stream over HTTP that breaks on the server's side ends with an event `watch_failed`, which carries the error
and has no id. It is no event of the task: reconnect, and the stream goes on after the last id.
"""


def page() -> str:
    """The page."""
    known = {item.name: item for item in contracts.definitions("task.proto")}
    fields = ((code(field.name), field.types[0], field.comment) for field in known["TaskEvent"].members)
    types = table(("Type", "Meaning", "Sets"), _types(known["EventType"]))
    return f"{_INTRODUCTION}\n{types}{_SSE}\n## Fields\n\n{table(('Field', 'Type', 'Meaning'), fields)}"


def _types(types: contracts.Definition) -> Iterator[tuple[str, str, str]]:
    for value in types.members:
        name = value.name.removeprefix("EVENT_TYPE_").lower()
        if name != "unspecified":
            meaning, _, sets = value.comment.partition(" Sets: ")
            before, _, after = sets.partition(". ")
            yield code(name), f"{meaning} {after}".strip(), before.removesuffix(".")
