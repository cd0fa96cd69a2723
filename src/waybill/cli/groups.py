"""Owns the groups of commands for operators: effects, dead letters, agents, the tenant."""

from __future__ import annotations

from typing import Annotated

import typer

from waybill.cli.options import GATEWAY, TENANT, Address, AgentName, Json, RequestId, StepName, TaskName, Tenant

effect_app = typer.Typer(help="Look at effects that agents guard, and decide unknown ones.", no_args_is_help=True)
dead_app = typer.Typer(
    help="Look at dead letters and retry or drop them. They are steps that were given up because they kill the process "
    "that runs them.",
    no_args_is_help=True,
)
agents_app = typer.Typer(
    help="Print the agents that workers have announced. Pause and resume one.",
)
tenant_app = typer.Typer(help="Pause and resume the tenant.", no_args_is_help=True)

Letter = Annotated[str, typer.Argument(metavar="LETTER", help="Name or id of a dead letter.")]


@effect_app.command("list")
def list_effects(task: TaskName, json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print the effects that a task's agents guard."""
    from waybill.cli import operating
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: operating.list_effects(address, tenant, task, as_json=json)))


@effect_app.command("resolve")
def resolve_effect(
    task: TaskName,
    step: StepName,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key that the agent gave the effect.")],
    done: Annotated[bool, typer.Option("--done", help="It happened.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="It did not happen: a later attempt does it.")] = False,
    result: Annotated[str, typer.Option(metavar="JSON", help="With --done: what it returned. Default: null.")] = "",
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Decide an effect that nobody knows the end of.

    `waybill retry` then goes on from there.
    """
    from waybill.cli import operating
    from waybill.cli.exits import finish

    decision = operating.Decision(task, step, key, done, failed, result, request_id)
    raise typer.Exit(finish(lambda: operating.resolve_effect(address, tenant, decision, as_json=json)))


@dead_app.command("list")
def list_letters(json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print the dead letters, newest first."""
    from waybill.cli import operating
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: operating.list_letters(address, tenant, as_json=json)))


@dead_app.command("show")
def show_letter(letter: Letter, json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print a dead letter with its attempts."""
    from waybill.cli import operating
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: operating.show_letter(address, tenant, letter, as_json=json)))


@dead_app.command("retry")
def retry_letter(
    letter: Letter, request_id: RequestId = "", json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT
) -> None:
    """Remove a dead letter and retry its task."""
    from waybill.cli import operating
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: operating.retry_letter(address, tenant, letter, request_id, as_json=json)))


@dead_app.command("drop")
def drop_letter(
    letter: Letter, request_id: RequestId = "", json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT
) -> None:
    """Remove a dead letter; its task stays as it ended."""
    from waybill.cli import operating
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: operating.drop_letter(address, tenant, letter, request_id, as_json=json)))


@agents_app.callback(invoke_without_command=True)
def agents(context: typer.Context, json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print the agents that workers have announced, with their workers and backlog. Pause and resume one."""
    from waybill.cli import operating
    from waybill.cli.exits import finish

    if context.invoked_subcommand is None:
        raise typer.Exit(finish(lambda: operating.list_agents(address, tenant, as_json=json)))


@agents_app.command("pause")
def pause_agent(
    name: AgentName, request_id: RequestId = "", json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT
) -> None:
    """Pause an agent for all tenants.

    What runs goes on to its end, nothing else of it starts.
    """
    from waybill.cli import operating
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: operating.pause_agent(address, tenant, name, True, request_id, as_json=json)))


@agents_app.command("resume")
def resume_agent(
    name: AgentName, request_id: RequestId = "", json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT
) -> None:
    """Resume an agent."""
    from waybill.cli import operating
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: operating.pause_agent(address, tenant, name, False, request_id, as_json=json)))


@tenant_app.command("pause")
def pause_tenant(
    request_id: RequestId = "", json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT
) -> None:
    """Pause the tenant.

    What runs goes on to its end, nothing else of it starts.
    """
    from waybill.cli import operating
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: operating.pause_tenant(address, tenant, True, request_id, as_json=json)))


@tenant_app.command("resume")
def resume_tenant(
    request_id: RequestId = "", json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT
) -> None:
    """Resume the tenant."""
    from waybill.cli import operating
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: operating.pause_tenant(address, tenant, False, request_id, as_json=json)))
