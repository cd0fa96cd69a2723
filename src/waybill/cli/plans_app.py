"""Owns the groups of commands about plan files and plan templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from waybill.cli.completion import complete_template
from waybill.cli.options import GATEWAY, TENANT, Address, Json, Tenant

plan_app = typer.Typer(help="Check and draw plan files, in YAML or JSON.", no_args_is_help=True)
templates_app = typer.Typer(help="Print the planner's plan templates.")

PlanFile = Annotated[Path, typer.Argument(metavar="FILE", help="A plan, or a plan template; - reads stdin.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name or id of a template.", autocompletion=complete_template)
]


@plan_app.command("check")
def check_plan(
    file: PlanFile,
    address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Gateway whose agents the plan has to fit too. Default: ask nobody."),
    ] = "",
    tenant: Tenant = TENANT,
    json: Json = False,
) -> None:
    """Print all that is wrong with a plan, each with its line.

    Exit code 2 if anything is. Without --address that is the form of the file, names, references, cycles and limits.
    """
    from waybill.cli import plans
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: plans.check_plan(file, address, tenant, as_json=json)))


@plan_app.command("show")
def show_plan(
    file: PlanFile,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it into this file as SVG; - writes to stdout.")
    ] = None,
    width: Annotated[
        int,
        typer.Option(
            metavar="COLUMNS", min=0, max=1_000, help="Columns of the picture. Default: as wide as the terminal."
        ),
    ] = 0,
    json: Json = False,
) -> None:
    """Draw the graph of a plan in the terminal, or as SVG.

    Double frames are questions, dashed ones steps under a condition.
    """
    from waybill.cli import plans
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: plans.show_plan(file, svg, width, as_json=json)))


@templates_app.callback(invoke_without_command=True)
def templates(context: typer.Context, json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print the planner's plan templates with their parameters. Show one."""
    from waybill.cli import templates as commands
    from waybill.cli.exits import finish

    if context.invoked_subcommand is None:
        raise typer.Exit(finish(lambda: commands.list_templates(address, tenant, as_json=json)))


@templates_app.command("show")
def show_template(name: Name, json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print a template: what it does, its parameters, its plan."""
    from waybill.cli import templates as commands
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: commands.show_template(address, tenant, name, as_json=json)))
