"""Owns the command about results."""

from __future__ import annotations

from typing import Annotated

import typer

from waybill.cli.completion import complete_task
from waybill.cli.options import (
    GATEWAY,
    TENANT,
    Address,
    Json,
    Since,
    Tenant,
    Until,
    WantedAgent,
    WantedLabels,
    WantedStates,
    WantedTemplate,
)
from waybill.cli.sections import Section

results_app = typer.Typer()


@results_app.command(rich_help_panel=Section.TASKS)
def results(
    task: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK", help="Names or ids of tasks.", show_default=False, autocompletion=complete_task),
    ] = None,
    state: WantedStates = None,
    label: WantedLabels = None,
    agent: WantedAgent = "",
    template: WantedTemplate = "",
    since: Since = "",
    until: Until = "",
    cursor: Annotated[str, typer.Option(metavar="CURSOR", help="Go on after the result that came with this.")] = "",
    from_now: Annotated[bool, typer.Option("--from-now", help="Only tasks that end from now on.")] = False,
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Print what tasks returned as they end, one line each.

    Those that have ended already come first. With names it ends when all of those have, else with Ctrl-C. With --json
    each line has the cursor to go on after it.
    """
    from waybill.cli.exits import finish
    from waybill.cli.reading import TypedFilter
    from waybill.cli.results import Followed, follow_results

    wanted = TypedFilter(tuple(state or ()), tuple(label or ()), agent, template, since, until)
    followed = Followed(tuple(task or ()), wanted, cursor, from_now)
    raise typer.Exit(finish(lambda: follow_results(address, tenant, followed, as_json=json)))
