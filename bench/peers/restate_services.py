"""The service of Restate's run: an ASGI application whose handlers are the steps and the graphs."""

from __future__ import annotations

import restate
from peer_processes import announce
from peer_run import Answer, answer, items_of

bench = restate.Service("Bench")


@bench.handler()
async def task(_context: restate.Context, items: int) -> Answer:
    """Do nothing, and answer."""
    return answer(items)


@bench.handler()
async def link(_context: restate.Context, given: Answer) -> Answer:
    """Add 1."""
    return answer(items_of(given) + 1)


@bench.handler()
async def join(_context: restate.Context, parts: list[Answer]) -> Answer:
    """Sum up."""
    return answer(sum(items_of(part) for part in parts))


@bench.handler()
async def chain(context: restate.Context, steps: int) -> Answer:
    """Call one step after another."""
    found = answer(0)
    for _ in range(steps):
        found = await context.service_call(link, arg=found)
    return found


@bench.handler()
async def graph(context: restate.Context, shape: dict[str, int]) -> Answer:
    """Call one step, then `width` steps at once, then one with all their results."""
    top = await context.service_call(link, arg=answer(shape["given"] - 1))
    calls = [context.service_call(link, arg=top) for _ in range(shape["width"])]
    await restate.gather(*calls)
    return await context.service_call(join, arg=[await call for call in calls])


app = restate.app([bench])
announce()
