"""Owns submitting a task for every line of a file of inputs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from waybill.cli import exits
from waybill.cli.bars import bar
from waybill.cli.gateway import client_of, json_line
from waybill.cli.lines import count_of
from waybill.cli.reading import Typed, file_text, plan_file, read_json, submission
from waybill.cli.templates import typed_parameters
from waybill.errors import InvalidArgument, WaybillError
from waybill.resources import Submission, Task

_AT_ONCE = 200
"""Submissions in one call: enough to be fast, and few enough for a bar that moves."""


@dataclass(frozen=True)
class InputLine:
    """One value of the file, and its line, from 1."""

    line: int
    value: Any


async def submit_many(address: str, tenant: str, typed: Typed, inputs: Path, *, as_json: bool) -> int:
    """Submit a task for each line, print the names as they are accepted, and tell which lines were refused.

    Nothing is submitted unless every line is JSON. With a request id, doing the same again goes on where it stopped.
    The exit code is that of the first refusal, if there is one. Raises `InvalidArgument`.
    """
    lines = read_lines(typed, inputs)
    base = submission(typed, plan_file(typed), await typed_parameters(address, tenant, typed))
    accepted, code = 0, exits.OK
    async with client_of(address, tenant) as client:
        with bar("submitting", len(lines), shown=not as_json) as another:
            for first in range(0, len(lines), _AT_ONCE):
                chunk = lines[first : first + _AT_ONCE]
                outcomes = await client.submit_many([one_of(base, line) for line in chunk])
                for line, outcome in zip(chunk, outcomes, strict=True):
                    if isinstance(outcome, Task):
                        accepted += 1
                        print(_told(outcome, line, as_json=as_json), flush=True)
                    else:
                        refusal = _refused(line, outcome)
                        code = code or refusal
                    another(f"line {line.line}")
    refused = len(lines) - accepted
    exits.say(f"submitted {count_of(accepted, 'task')}" + (f", {refused} refused" if refused else ""))
    return code


def read_lines(typed: Typed, inputs: Path) -> Sequence[InputLine]:
    """The values of a file, or of stdin; empty lines count as none. Raises `InvalidArgument` naming the line."""
    if typed.goal:
        told = "goes with --plan or --template, whose ${task.input} each line is, and with no --goal"
        raise InvalidArgument.of_field("--inputs", told)
    if typed.input:
        raise InvalidArgument.of_field("--input, --inputs", "give one of them")
    if str(inputs) == "-" and "-" in (str(typed.plan), str(typed.policy)):
        raise InvalidArgument.of_field("--inputs", "cannot be read from stdin beside another: put one into a file")
    data, name = file_text(inputs, "--inputs")
    lines = [
        InputLine(number, read_json(text, f"--inputs: {name}:{number}"))
        for number, text in enumerate(data.split(b"\n"), 1)
        if text.strip()
    ]
    if not lines:
        raise InvalidArgument.of_field("--inputs", f"{name} is empty: write one JSON value a line")
    return lines


def one_of(base: Submission, line: InputLine) -> Submission:
    """The submission for one line. Under a request id of the whole, each has one of its own by its line."""
    request_id = f"{base.request_id}.{line.line}" if base.request_id else None
    return replace(base, input=line.value, request_id=request_id)


def _told(task: Task, line: InputLine, *, as_json: bool) -> str:
    return json_line({"name": task.name, "state": task.state.value, "line": line.line}) if as_json else task.name


def _refused(line: InputLine, error: WaybillError) -> int:
    print(f"waybill: line {line.line}: {error.message}", file=sys.stderr, flush=True)
    return exits.code_of(error)
