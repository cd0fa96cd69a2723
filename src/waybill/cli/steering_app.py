"""Owns the commands that steer a task: cancel, pause, resume, retry, answer."""

from __future__ import annotations

from typing import Annotated

import typer

from waybill.cli.options import (
    GATEWAY,
    TENANT,
    Address,
    Json,
    RequestId,
    Since,
    StepName,
    TaskName,
    TaskOrNone,
    Tenant,
    Until,
    WantedAgent,
    WantedLabels,
    WantedTemplate,
)
from waybill.cli.sections import Section

steering_app = typer.Typer()


@steering_app.command(rich_help_panel=Section.STEER)
def cancel(
    task: TaskName,
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Cancel a task."""
    _steer("cancel", task, request_id, json, address, tenant)


@steering_app.command(rich_help_panel=Section.STEER)
def pause(
    task: TaskName,
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Pause a task.

    What runs goes on to its end, nothing else starts.
    """
    _steer("pause", task, request_id, json, address, tenant)


@steering_app.command(rich_help_panel=Section.STEER)
def resume(
    task: TaskName,
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Resume a paused task."""
    _steer("resume", task, request_id, json, address, tenant)


def _steer(action: str, task: str, request_id: str, json: bool, address: str, tenant: str) -> None:
    from waybill.cli import steering
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: steering.steer(address, tenant, action, task, request_id, as_json=json)))


@steering_app.command(rich_help_panel=Section.STEER)
def retry(
    task: TaskOrNone = "",
    failed: Annotated[bool, typer.Option("--failed", help="Retry the failed tasks that the filters admit.")] = False,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="Retry the cancelled ones.")] = False,
    label: WantedLabels = None,
    agent: WantedAgent = "",
    template: WantedTemplate = "",
    since: Since = "",
    until: Until = "",
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Run a task again from what did not succeed, or many of them.

    Without TASK, --failed and --cancelled name the many. They are retried newest first, and the name of each that runs
    again is printed.
    """
    from waybill.cli import steering
    from waybill.cli.exits import finish
    from waybill.cli.reading import TypedFilter
    from waybill.core.task import TaskState

    chosen = ((failed, TaskState.FAILED), (cancelled, TaskState.CANCELLED))
    states = tuple(state for is_chosen, state in chosen if is_chosen)
    wanted = TypedFilter(states, tuple(label or ()), agent, template, since, until)
    raise typer.Exit(finish(lambda: steering.retry(address, tenant, task, wanted, request_id, as_json=json)))


@steering_app.command(rich_help_panel=Section.STEER)
def answer(
    task: TaskName,
    step: StepName,
    value: Annotated[str, typer.Argument(metavar="JSON", help="The answer; - reads it from stdin.")],
    request_id: RequestId = "",
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Answer a step that waits for a person. `waybill show` prints what it asks."""
    from waybill.cli import steering
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: steering.answer(address, tenant, task, step, value, request_id, as_json=json)))
