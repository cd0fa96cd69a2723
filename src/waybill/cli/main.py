"""Owns the command line `waybill`: its commands and options. What they do is imported when they run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from waybill.cli.groups import agents_app, dead_app, effect_app, tenant_app
from waybill.cli.options import (
    GATEWAY,
    TENANT,
    Address,
    FromTemplate,
    Json,
    MaxCost,
    OnLimit,
    Parameters,
    Result,
    Since,
    Sources,
    TaskName,
    Tenant,
    Until,
    WantedAgent,
    WantedLabels,
    WantedStates,
    WantedTemplate,
)
from waybill.cli.plans_app import plan_app, templates_app
from waybill.cli.results_app import results_app
from waybill.cli.schedules_app import schedules_app
from waybill.cli.sections import Section, SectionedGroup
from waybill.cli.spending_app import budget_app, limits_app, spending_app
from waybill.cli.steering_app import steering_app
from waybill.core.task import Priority

app = typer.Typer(
    name="waybill",
    cls=SectionedGroup,
    help="Run multi-step agent tasks. `waybill init` writes a project of your own, `waybill up` runs the suite.",
    epilog="Exit codes: 0 done, 1 the task failed or was cancelled, 2 bad usage or a bad request, 3 unavailable, "
    "130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def interruptible() -> None:
    """Let Ctrl-C end every command from its first moment on, also where a shell started it with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@app.command(rich_help_panel=Section.BEGIN)
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write it. Default: this folder.", show_default=False)
    ] = Path(),
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the project. Default: that of the folder.")] = "",
    json: Json = False,
) -> None:
    """Write a project of your own: agents, a plan, a test.

    It has a README with the next commands and a container file, runs at once, and passes its test. Nothing is
    overwritten.
    """
    from waybill.cli.exits import finish
    from waybill.cli.init import init as command

    raise typer.Exit(finish(lambda: command(folder, name, as_json=json)))


@app.command(rich_help_panel=Section.BEGIN)
def up(
    grpc_port: Annotated[
        int,
        typer.Option(
            metavar="PORT", envvar="WAYBILL_GATEWAY_GRPC_PORT", min=0, max=65535, help="gRPC port; 0 for a free one."
        ),
    ] = 7400,
    http_port: Annotated[
        int,
        typer.Option(
            metavar="PORT", envvar="WAYBILL_GATEWAY_HTTP_PORT", min=0, max=65535, help="HTTP port; 0 for a free one."
        ),
    ] = 7480,
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the store and the logs are kept.")] = Path(
        ".waybill"
    ),
    workers: Annotated[int, typer.Option(metavar="COUNT", min=1, max=64, help="Worker processes.")] = 1,
    archive: Annotated[
        bool, typer.Option("--archive", help="Keep ended tasks for good, in archive.db of the data directory.")
    ] = False,
    agents: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE[,MODULE...]",
            help="Python modules with agents to run besides the installed ones. Default: those that pyproject.toml in "
            "this folder announces.",
        ),
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of plan templates. Default: no templates.")
    ] = None,
    json: Json = False,
) -> None:
    """Start the suite and keep it running until Ctrl-C.

    WAYBILL_REDIS_URL uses a Redis of yours as the store.
    """
    from waybill.cli.exits import finish
    from waybill.cli.suite import SuiteOptions
    from waybill.cli.up import up as command

    options = SuiteOptions(grpc_port, http_port, workers, archive=archive, templates=templates)
    raise typer.Exit(finish(lambda: command(options, data_dir, agents, as_json=json)))


@app.command(rich_help_panel=Section.BEGIN)
def run(
    goal: Annotated[str, typer.Option(metavar="TEXT", help="What to answer. Default: a question about Waybill.")] = "",
    sources: Sources = None,
    json: Json = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the store and the logs are kept. Default: .waybill, if it is free."),
    ] = None,
    max_cost_usd: MaxCost = "",
    on_limit: OnLimit = None,
) -> None:
    """Answer one goal on a private suite, and stop it.

    The report goes to stdout, the progress to stderr. --json prints one line of JSON.
    """
    from waybill.cli.exits import finish
    from waybill.cli.reading import budget, split_sources
    from waybill.cli.run import question
    from waybill.cli.run import run as command

    async def answer() -> int:
        asked = question(goal, split_sources(sources or []), budget(max_cost_usd, on_limit))
        return await command(asked, data_dir, as_json=json)

    raise typer.Exit(finish(answer))


@app.command(rich_help_panel=Section.TASKS)
def submit(
    goal: Annotated[str, typer.Option(metavar="TEXT", help="What to do, in words.")] = "",
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="A plan as YAML or JSON; - reads stdin.")] = None,
    input: Annotated[str, typer.Option(metavar="JSON", help="Value of ${task.input} in a plan.")] = "",
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON values, one a line, for a task each with the plan; - reads stdin."),
    ] = None,
    sources: Sources = None,
    document: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A source to send along; may be repeated.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")] = None,
    priority: Annotated[Priority, typer.Option(help="Higher ones run first.")] = Priority.NORMAL,
    request_id: Annotated[str, typer.Option(metavar="ID", help="Makes submitting again return the same task.")] = "",
    deadline: Annotated[
        str, typer.Option(metavar="SPAN", help="The task fails if it has not ended by then: 90s, 10m, 1h30m, 2d.")
    ] = "",
    template: FromTemplate = "",
    param: Parameters = None,
    max_cost_usd: MaxCost = "",
    on_limit: OnLimit = None,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What the task may do, as JSON; - reads stdin. Default: all that you allow."),
    ] = None,
    start_at: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="When the task begins: a time such as 2026-11-24T09:30, or +2h. Default: at once."
        ),
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Watch the task to its end.")] = False,
    result: Result = False,
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Submit a task and print its name, or watch it.

    With --inputs there are many tasks: the name of each is printed as it is accepted.
    """
    from waybill.cli import commands
    from waybill.cli.exits import finish
    from waybill.cli.reading import Typed, split_sources

    typed = Typed(
        goal,
        plan,
        input,
        split_sources(sources or []),
        document or (),
        label or (),
        priority,
        request_id,
        deadline,
        template,
        max_cost_usd,
        on_limit,
        policy,
        start_at,
        param or (),
    )
    if inputs is not None:
        from waybill.cli.submitting_many import submit_many

        if watch or result:
            raise typer.BadParameter("--watch and --result follow one task, `waybill results` those of --inputs")
        raise typer.Exit(finish(lambda: submit_many(address, tenant, typed, inputs, as_json=json)))
    shown = commands.Watching(as_json=json, result=result) if watch or result else None
    raise typer.Exit(finish(lambda: commands.submit(address, tenant, typed, shown, as_json=json)))


@app.command(rich_help_panel=Section.TASKS)
def watch(
    task: TaskName,
    from_sequence: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="First event to show.")] = 1,
    result: Result = False,
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Show a task's events until it has ended.

    On a terminal that is a live tree of its steps, elsewhere one line an event.
    """
    from waybill.cli import commands
    from waybill.cli.exits import finish

    shown = commands.Watching(as_json=json, result=result, from_sequence=from_sequence)
    raise typer.Exit(finish(lambda: commands.watch(address, tenant, task, shown)))


@app.command("list", rich_help_panel=Section.TASKS)
def list_tasks(
    state: WantedStates = None,
    label: WantedLabels = None,
    agent: WantedAgent = "",
    template: WantedTemplate = "",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option(metavar="COUNT", min=1, help="Most tasks to print.")] = 50,
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Print the newest tasks."""
    from waybill.cli import commands
    from waybill.cli.exits import finish
    from waybill.cli.reading import TypedFilter

    wanted = TypedFilter(state or (), label or (), agent, template, since, until)
    raise typer.Exit(finish(lambda: commands.list_tasks(address, tenant, wanted, limit, as_json=json)))


@app.command(rich_help_panel=Section.TASKS)
def show(
    task: TaskName,
    attempts: Annotated[
        bool, typer.Option("--attempts", help="Also every attempt of every step: worker, times, spend, error.")
    ] = False,
    json: Json = False,
    address: Address = GATEWAY,
    tenant: Tenant = TENANT,
) -> None:
    """Print a task with its steps, times, cost and output."""
    from waybill.cli import commands
    from waybill.cli.exits import finish

    raise typer.Exit(finish(lambda: commands.show(address, tenant, task, attempts=attempts, as_json=json)))


@app.command(rich_help_panel=Section.OPERATE)
def version(json: Json = False, address: Address = GATEWAY) -> None:
    """Print the versions of this command and of the gateway.

    A gateway that does not answer is no error here.
    """
    from waybill.cli.exits import finish
    from waybill.cli.version import version as command

    raise typer.Exit(finish(lambda: command(address, as_json=json)))


app.add_typer(results_app)
app.add_typer(steering_app)
app.add_typer(spending_app)
app.add_typer(plan_app, name="plan", rich_help_panel=Section.PLANS)
app.add_typer(templates_app, name="templates", rich_help_panel=Section.PLANS)
app.add_typer(schedules_app, name="schedule", rich_help_panel=Section.PLANS)
app.add_typer(budget_app, name="budget", rich_help_panel=Section.SPENDING)
app.add_typer(limits_app, name="limits", rich_help_panel=Section.SPENDING)
app.add_typer(effect_app, name="effect", rich_help_panel=Section.OPERATE)
app.add_typer(dead_app, name="dead", rich_help_panel=Section.OPERATE)
app.add_typer(agents_app, name="agents", rich_help_panel=Section.OPERATE)
app.add_typer(tenant_app, name="tenant", rich_help_panel=Section.OPERATE)


if __name__ == "__main__":
    app()
