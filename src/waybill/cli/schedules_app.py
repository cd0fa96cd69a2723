"""Owns the commands about schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from waybill.cli.options import (
    GATEWAY,
    TENANT,
    Address,
    FromTemplate,
    Json,
    MaxCost,
    OnLimit,
    Parameters,
    RequestId,
    ScheduleName,
    Sources,
    Tenant,
)
from waybill.core.schedule_policies import CatchUp, Overlap
from waybill.core.task import Priority

schedules_app = typer.Typer(
    help="Submit tasks again and again. When is a cron expression, or an interval.", no_args_is_help=True
)

NewName = Annotated[str, typer.Argument(metavar="NAME", help="Up to 64 of a-z, 0-9, _ and -.")]
Goal = Annotated[str, typer.Option(metavar="TEXT", help="What to do, in words.")]
PlanFile = Annotated[Path | None, typer.Option(metavar="FILE", help="A plan as YAML or JSON; - reads stdin.")]
Input = Annotated[str, typer.Option(metavar="JSON", help="Value of ${task.input} in a plan.")]
Documents = Annotated[list[Path] | None, typer.Option(metavar="FILE", help="A source to send along; may be repeated.")]
Labels = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of each task; may be repeated.")]
Urgency = Annotated[Priority, typer.Option(help="Higher ones run first.")]
Deadline = Annotated[
    str, typer.Option(metavar="SPAN", help="A task fails if it has not ended by then: 90s, 10m, 1h30m, 2d.")
]
Policy = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="What a task may do, as JSON; - reads stdin. Default: all that you allow."),
]
Cron = Annotated[
    str, typer.Option(metavar="EXPRESSION", help='Minute, hour, day of month, month, day of week: "30 8 * * MON-FRI".')
]
Every = Annotated[str, typer.Option(metavar="SPAN", help="At this interval instead: 30s, 15m, 6h, 1d.")]
TimeZone = Annotated[
    str, typer.Option(metavar="ZONE", help="IANA time zone of the expression, such as Europe/Berlin. Default: UTC.")
]
OverlapChoice = Annotated[Overlap, typer.Option("--overlap", help="While an earlier task has not ended.")]
CatchUpChoice = Annotated[CatchUp, typer.Option("--catch-up", help="Which firings are made that were missed.")]
Window = Annotated[
    str, typer.Option(metavar="SPAN", help="How late a missed one may be and still be made. Default: 1d.")
]
Moment = typer.Option(metavar="TIME", help="A time such as 2026-11-24T09:30, or +2h.", show_default=False)


@schedules_app.command("create")
def create_schedule(
    name: NewName,
    goal: Goal = "",
    plan: PlanFile = None,
    input: Input = "",
    sources: Sources = None,
    document: Documents = None,
    label: Labels = None,
    priority: Urgency = Priority.NORMAL,
    deadline: Deadline = "",
    template: FromTemplate = "",
    param: Parameters = None,
    max_cost_usd: MaxCost = "",
    on_limit: OnLimit = None,
    policy: Policy = None,
    cron: Cron = "",
    every: Every = "",
    time_zone: TimeZone = "",
    overlap: OverlapChoice = Overlap.SKIP,
    catch_up: CatchUpChoice = CatchUp.LATEST,
    window: Window = "",
    begin: Annotated[str, Moment] = "",
    end: Annotated[str, Moment] = "",
    paused: Annotated[bool, typer.Option("--paused", help="Fire nothing until it is resumed.")] = False,
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Create a schedule.

    Its tasks are given by the options of `waybill submit`.
    """
    from waybill.cli import schedules
    from waybill.cli.exits import finish
    from waybill.cli.reading import Typed, split_sources

    spec = Typed(
        *(goal, plan, input, split_sources(sources or []), document or (), label or (), priority, "", deadline),
        *(template, max_cost_usd, on_limit, policy),
        parameters=param or (),
    )
    typed = schedules.TypedSchedule(
        name, spec, cron, every, time_zone, overlap, catch_up, window, begin, end, paused, request_id
    )
    raise typer.Exit(finish(lambda: schedules.write(address, tenant, typed, replace=False, as_json=json)))


@schedules_app.command("update")
def update_schedule(
    name: ScheduleName,
    goal: Goal = "",
    plan: PlanFile = None,
    input: Input = "",
    sources: Sources = None,
    document: Documents = None,
    label: Labels = None,
    priority: Urgency = Priority.NORMAL,
    deadline: Deadline = "",
    template: FromTemplate = "",
    param: Parameters = None,
    max_cost_usd: MaxCost = "",
    on_limit: OnLimit = None,
    policy: Policy = None,
    cron: Cron = "",
    every: Every = "",
    time_zone: TimeZone = "",
    overlap: OverlapChoice = Overlap.SKIP,
    catch_up: CatchUpChoice = CatchUp.LATEST,
    window: Window = "",
    begin: Annotated[str, Moment] = "",
    end: Annotated[str, Moment] = "",
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Replace all of a schedule, except whether it is paused.

    Its tasks go on as they were submitted.
    """
    from waybill.cli import schedules
    from waybill.cli.exits import finish
    from waybill.cli.reading import Typed, split_sources

    spec = Typed(
        *(goal, plan, input, split_sources(sources or []), document or (), label or (), priority, "", deadline),
        *(template, max_cost_usd, on_limit, policy),
        parameters=param or (),
    )
    typed = schedules.TypedSchedule(
        name, spec, cron, every, time_zone, overlap, catch_up, window, begin, end, False, request_id
    )
    raise typer.Exit(finish(lambda: schedules.write(address, tenant, typed, replace=True, as_json=json)))


@schedules_app.command("list")
def list_schedules(json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print the schedules by name."""
    from waybill.cli import schedules
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: schedules.list_schedules(address, tenant, as_json=json)))


@schedules_app.command("show")
def show_schedule(name: ScheduleName, json: Json = False, address: Address = GATEWAY, tenant: Tenant = TENANT) -> None:
    """Print a schedule with its newest firings."""
    from waybill.cli import schedules
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: schedules.show(address, tenant, name, as_json=json)))


@schedules_app.command("delete")
def delete_schedule(
    name: ScheduleName,
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Delete a schedule; its tasks go on."""
    from waybill.cli import schedules
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: schedules.delete(address, tenant, name, request_id, as_json=json)))


@schedules_app.command("pause")
def pause_schedule(
    name: ScheduleName,
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Pause a schedule.

    Nothing of it is due, and nothing that falls into the pause is made up for.
    """
    from waybill.cli import schedules
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: schedules.pause(address, tenant, name, True, request_id, as_json=json)))


@schedules_app.command("resume")
def resume_schedule(
    name: ScheduleName,
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Resume a schedule with the next firing after now."""
    from waybill.cli import schedules
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: schedules.pause(address, tenant, name, False, request_id, as_json=json)))


@schedules_app.command("trigger")
def trigger_schedule(
    name: ScheduleName,
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Fire a schedule now and print the task's name.

    It may be paused, and what is due later stays.
    """
    from waybill.cli import schedules
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: schedules.trigger(address, tenant, name, request_id, as_json=json)))
