"""Owns what the shell offers for names that only a running suite knows. Where none answers soon, it offers nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from waybill.cli.places import GATEWAY, TENANT

if TYPE_CHECKING:
    from waybill.client import Client

_PATIENCE_SECONDS = 0.8
"""A person holds the Tab key: what is not there by then is not worth waiting for."""
_MOST_TASKS = 50

Offer = tuple[str, str]
"""A value, and what it is."""


def complete_task(ctx: Any, incomplete: str) -> list[Offer]:
    """The newest tasks whose id or name begins so."""
    prefix = "tasks/" if incomplete.startswith("tasks/") else ""
    return _offered(ctx, incomplete, lambda client: _tasks(client, prefix))


def complete_agent(ctx: Any, incomplete: str) -> list[Offer]:
    """The agents whose name begins so."""
    return _offered(ctx, incomplete, _agents)


def complete_schedule(ctx: Any, incomplete: str) -> list[Offer]:
    """The schedules whose id begins so."""
    return _offered(ctx, incomplete, _schedules)


def complete_template(ctx: Any, incomplete: str) -> list[Offer]:
    """The plan templates whose id begins so."""
    return _offered(ctx, incomplete, _templates)


def complete_step(ctx: Any, incomplete: str) -> list[Offer]:
    """The steps of the task that was typed before whose name begins so."""
    task = str(ctx.params.get("task") or "")
    return _offered(ctx, incomplete, lambda client: _steps(client, task)) if task else []


async def _tasks(client: Client, prefix: str) -> list[Offer]:
    from waybill.api.v1 import gateway_pb2
    from waybill.cli.lines import printable
    from waybill.resources import Task

    page = await client.call("ListTasks", gateway_pb2.ListTasksRequest(page_size=_MOST_TASKS))
    tasks = map(Task.of, page.tasks)
    return [
        (prefix + task.name.removeprefix("tasks/"), f"{task.state.value} {printable(task.goal, 60)}".strip())
        for task in tasks
    ]


async def _agents(client: Client) -> list[Offer]:
    from waybill.cli.lines import printable

    return [(agent.id, printable(agent.description, 60)) for agent in await client.agents()]


async def _schedules(client: Client) -> list[Offer]:
    return [(schedule.id, schedule.cron or f"every {schedule.interval}") async for schedule in client.schedules()]


async def _templates(client: Client) -> list[Offer]:
    from waybill.cli.lines import printable

    return [(template.id, printable(template.description, 60)) for template in await client.templates()]


async def _steps(client: Client, task: str) -> list[Offer]:
    return [(step.id, f"{step.agent} {step.state.value}") for step in await client.steps(task)]


def _offered(ctx: Any, incomplete: str, ask: Callable[[Client], Awaitable[Iterable[Offer]]]) -> list[Offer]:
    """What the gateway knows that begins so; nothing, and not a word, if anything goes wrong."""
    address, tenant = str(ctx.params.get("address") or GATEWAY), str(ctx.params.get("tenant") or TENANT)

    import asyncio

    async def look() -> Iterable[Offer]:
        from waybill.cli.gateway import client_of

        async with asyncio.timeout(_PATIENCE_SECONDS), client_of(address, tenant, _PATIENCE_SECONDS) as client:
            return await ask(client)

    try:
        return [offer for offer in asyncio.run(look()) if offer[0].startswith(incomplete)]
    except Exception:  # the shell would show a traceback in the middle of what is being typed
        return []
