"""Owns the commands about money and limits: usage, calls, budget, limits."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from waybill.cli.completion import complete_task
from waybill.cli.options import GATEWAY, TENANT, Address, Json, RequestId, Tenant
from waybill.cli.sections import Section

spending_app = typer.Typer()
budget_app = typer.Typer(help="Print and set what the tenant may spend on models.", no_args_is_help=True)
limits_app = typer.Typer(
    help="Print and set limits on what runs at once. They hold over all workers, as do limits on what starts in a "
    "minute.",
    no_args_is_help=True,
)


class Grouping(StrEnum):
    """What rows of usage are summed by."""

    DAY = "day"
    AGENT = "agent"
    MODEL = "model"
    STEP = "step"


LimitName = Annotated[
    str,
    typer.Argument(
        metavar="LIMIT",
        help="agent:NAME, tenant:NAME, key:NAME for steps whose plan names the key, or model:NAME for calls of the "
        "endpoint of that name.",
    ),
]
Amount = typer.Option(metavar="USD", help="US dollars such as 5.00, or none for no limit. Default: as it is.")
Count = typer.Option(min=0, metavar="COUNT", show_default=False, help="0 for no limit. Default: as it is.")


@spending_app.command(rich_help_panel=Section.SPENDING)
def usage(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="Name or id of a task. Default: the tenant, day by day.", autocompletion=complete_task
        ),
    ] = "",
    from_day: Annotated[str, typer.Option("--from", metavar="DAY", help="First day, UTC, such as 2026-11-24.")] = "",
    until_day: Annotated[str, typer.Option("--until", metavar="DAY", help="Last day, UTC. Default: today.")] = "",
    by: Annotated[Grouping | None, typer.Option(help="Sum what was used by this alone.")] = None,
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Print the tokens and the money that were used.

    Those of a task are told by step, agent and model, those of the tenant by day, agent and model; without --from and
    --until it is the tenant's usage of today.
    """
    from waybill.cli import spending
    from waybill.cli.exits import finish

    asked = spending.UsageQuestion(task, from_day, until_day, by)
    raise typer.Exit(finish(lambda: spending.usage(address, tenant, asked, as_json=json)))


@spending_app.command(rich_help_panel=Section.SPENDING)
def calls(
    parent: Annotated[
        str,
        typer.Argument(
            metavar="TASK[/STEP]",
            help="Name or id of a task, or of one and the name of its step.",
            autocompletion=complete_task,
        ),
    ],
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Print the model calls of a task or of one step.

    Those of one step come with their prompts and responses, if the operator keeps them.
    """
    from waybill.cli import spending
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: spending.calls(address, tenant, parent, as_json=json)))


@budget_app.command("show")
def show_budget(json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print what the tenant may spend, has spent and reserved."""
    from waybill.cli import spending
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: spending.show_budget(address, tenant, as_json=json)))


@budget_app.command("set")
def set_budget(
    total_usd: Annotated[str, Amount] = "",
    day_usd: Annotated[str, Amount] = "",
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Set the most that all tasks of the tenant may cost.

    That is in all and in a day (UTC). What stands then is printed.
    """
    from waybill.cli import spending
    from waybill.cli.exits import finish

    typed = spending.TypedBudget(total_usd, day_usd, request_id)
    raise typer.Exit(finish(lambda: spending.set_budget(address, tenant, typed, as_json=json)))


@limits_app.command("list")
def list_limits(json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print the limits that were set or learned.

    With each go how many permits are held, and how many wait for one.
    """
    from waybill.cli import spending
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: spending.list_limits(address, tenant, as_json=json)))


@limits_app.command("set")
def set_limit(
    name: LimitName,
    concurrency: Annotated[int | None, Count] = None,
    per_minute: Annotated[int | None, Count] = None,
    tokens_per_minute: Annotated[int | None, Count] = None,
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Set how much runs at once and starts in a minute.

    That counts attempts, and for models calls and their tokens. It holds for all tenants.
    """
    from waybill.cli import spending
    from waybill.cli.exits import finish

    typed = spending.TypedLimit(name, concurrency, per_minute, tokens_per_minute, request_id)
    raise typer.Exit(finish(lambda: spending.set_limit(address, tenant, typed, as_json=json)))


@limits_app.command("remove")
def remove_limit(
    name: LimitName, request_id: RequestId = "", json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT
) -> None:
    """Remove a limit: who waits for a permit of it goes on."""
    from waybill.cli import spending
    from waybill.cli.exits import finish

    typed = spending.TypedLimit(name, 0, 0, 0, request_id)
    raise typer.Exit(finish(lambda: spending.set_limit(address, tenant, typed, as_json=json)))
