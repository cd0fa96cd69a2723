"""Owns the options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from waybill.cli.completion import complete_agent, complete_schedule, complete_step, complete_task, complete_template
from waybill.cli.places import GATEWAY as GATEWAY
from waybill.cli.places import TENANT as TENANT
from waybill.core.budget import BudgetAction
from waybill.core.task import TaskState

Address = Annotated[
    str, typer.Option("--address", metavar="HOST:PORT", envvar="WAYBILL_ADDRESS", help="gRPC address of the gateway.")
]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", envvar="WAYBILL_TENANT", help="Tenant to speak for.")]
TaskName = Annotated[str, typer.Argument(metavar="TASK", help="Name or id of a task.", autocompletion=complete_task)]
StepName = Annotated[
    str, typer.Argument(metavar="STEP", help="Name of a step in the task's plan.", autocompletion=complete_step)
]
TaskOrNone = Annotated[
    str,
    typer.Argument(metavar="TASK", help="Name or id of a task.", show_default=False, autocompletion=complete_task),
]
ScheduleName = Annotated[
    str, typer.Argument(metavar="SCHEDULE", help="Name or id of a schedule.", autocompletion=complete_schedule)
]
AgentName = Annotated[str, typer.Argument(metavar="AGENT", help="Name of an agent.", autocompletion=complete_agent)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Result = Annotated[
    bool,
    typer.Option("--result", help="Follow the task on stderr, and print what it returned on stdout."),
]
RequestId = Annotated[str, typer.Option(metavar="ID", help="Makes the same call again change nothing more.")]
Sources = Annotated[
    list[str] | None,
    typer.Option("--sources", metavar="PATH[,PATH...]", help="Folders and files to answer from; may be repeated."),
]
MaxCost = Annotated[
    str, typer.Option(metavar="USD", help="Most that the task may spend on models, in US dollars such as 0.50.")
]
OnLimit = Annotated[
    BudgetAction | None,
    typer.Option(help="At that limit, or one of the tenant: fail, go on with a cheaper model, or ask a person."),
]
WantedStates = Annotated[
    list[TaskState] | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help=f"Only this state; may be repeated. One of {', '.join(TaskState)}.",
    ),
]
WantedLabels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="Only tasks with this label; may be repeated."),
]
WantedAgent = Annotated[
    str,
    typer.Option(
        "--agent", metavar="AGENT", help="Only tasks with a step that this agent runs.", autocompletion=complete_agent
    ),
]
FromTemplate = Annotated[
    str,
    typer.Option(
        "--template",
        metavar="NAME",
        help="Plan template to make the plan from. With --goal or --plan it is only a name, for lists.",
        autocompletion=complete_template,
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Parameter of the template; JSON, or a text. May be repeated."),
]
WantedTemplate = Annotated[
    str,
    typer.Option(
        "--template", metavar="NAME", help="Only tasks made from this template.", autocompletion=complete_template
    ),
]
Since = Annotated[
    str, typer.Option(metavar="TIME", help="Accepted at or after: a time such as 2026-11-24T09:30, or 2h for 2 h ago.")
]
Until = Annotated[str, typer.Option(metavar="TIME", help="Accepted before: as --since.")]
DataDir = Annotated[Path, typer.Option(metavar="DIR", help="Where the store and the logs are kept.")]
