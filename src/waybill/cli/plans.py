"""Owns the commands about plan files: check, show."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from waybill.cli import exits
from waybill.cli.gateway import client_of, json_line
from waybill.cli.lines import count_of, printable
from waybill.cli.plan_checking import Checked, check
from waybill.cli.reading import file_text
from waybill.core.plan import AgentSchema, Graph, LinkedStep
from waybill.errors import InvalidArgument

_PIPED_COLUMNS = 100


async def check_plan(path: Path, address: str, tenant: str, *, as_json: bool) -> int:
    """Print what is wrong with a file, one fault a line; with an address, the agents there count too."""
    agents = await _agents(address, tenant) if address else None
    checked = check(*file_text(path, "FILE"), agents)
    if as_json:
        print(json_line(_as_json(checked)))
    elif checked.graph is not None:
        kind = f"template {checked.template}" if checked.template else "a plan"
        by = "and fits the agents there" if address else "as far as can be told without the agents"
        print(f"{checked.name}: {kind} of {count_of(len(checked.graph.steps), 'step')}, in order {by}")
    else:
        _say_faults(checked)
    return exits.OK if checked.graph is not None else exits.USAGE


async def show_plan(path: Path, svg: Path | None, columns: int, *, as_json: bool) -> int:
    """Draw a plan in the terminal, or into an SVG file; - is stdout. As JSON it is the graph alone."""
    checked = check(*file_text(path, "FILE"))
    graph = checked.graph
    if graph is None:
        if as_json:
            print(json_line(_as_json(checked)))
        else:
            _say_faults(checked)
        return exits.USAGE
    if as_json:
        print(json_line({**_as_json(checked), "steps": [_step_as_json(graph, step) for step in graph.steps]}))
        return exits.OK
    if svg is not None:
        from waybill.cli.plan_svg import svg as drawn

        text = drawn(graph, f"{checked.name}: {count_of(len(graph.steps), 'step')}")
        if str(svg) == "-":
            sys.stdout.write(text)
        else:
            _write(svg, text)
        return exits.OK
    from waybill.cli.plan_picture import picture

    columns = columns or shutil.get_terminal_size((_PIPED_COLUMNS, 24)).columns
    print(f"{checked.name}: {count_of(len(graph.steps), 'step')}, failure policy {graph.failure_policy.value}")
    for line in picture(graph, columns):
        print(line)
    return exits.OK


def _write(path: Path, text: str) -> None:
    """The file whole or not at all. Raises `InvalidArgument`."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise InvalidArgument.of_field("--svg", f"{path} cannot be written: {error.strerror}") from error


async def _agents(address: str, tenant: str) -> Mapping[str, AgentSchema]:
    async with client_of(address, tenant) as client:
        return {
            agent.id: AgentSchema(agent.id, agent.description, agent.input_schema, agent.output_schema, agent.max_batch)
            for agent in await client.agents()
        }


def _say_faults(checked: Checked) -> None:
    for fault in checked.faults:
        where = f"{fault.field}: " if fault.field else ""
        print(f"{checked.name}:{fault.line}: {where}{printable(fault.description, 1_000)}", file=sys.stderr)
    exits.say(f"{count_of(len(checked.faults), 'fault')} in {checked.name}")


def _step_as_json(graph: Graph, linked: LinkedStep) -> dict[str, object]:
    step = linked.step
    return {
        "name": step.name,
        "agent": step.agent,
        "question": step.question.prompt if step.question is not None else "",
        "depends_on": [graph.steps[number - 1].step.name for number in linked.dependencies],
        "when": list(step.when),
    }


def _as_json(checked: Checked) -> dict[str, object]:
    graph = checked.graph
    return {
        "file": checked.name,
        "template": checked.template,
        "valid": graph is not None,
        "step_count": len(graph.steps) if graph is not None else 0,
        "faults": [
            {"line": fault.line, "field": fault.field, "description": fault.description} for fault in checked.faults
        ],
    }
