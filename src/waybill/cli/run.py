"""Owns `waybill run`: a private suite for one goal, from the first process to the last, and the report in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import waybill
from waybill.cli import exits
from waybill.cli.datadir import DataDirectory
from waybill.cli.lines import output_text
from waybill.cli.running import all_ready, run_suite
from waybill.cli.suite import Suite, SuiteOptions
from waybill.cli.supervisor import Supervisor, breakdown
from waybill.cli.watching import Style, follow, succeeded
from waybill.client import Client
from waybill.core.budget import Budget
from waybill.core.task import Usage
from waybill.errors import FailedPrecondition, InvalidArgument, WaybillError
from waybill.progress import TaskProgress
from waybill.resources import Task

DEFAULT_GOAL = "What does the gateway own, what does the dispatcher own, and what happens when a worker dies?"
DEFAULT_DATA_DIRECTORY = Path(".waybill")
_OWN_SOURCES = ("README.md", "docs")
_LOCK_WAIT_SECONDS = 1.0
_CANCEL_SECONDS = 2.0


@dataclass(frozen=True)
class Question:
    """What is to be answered, and from which sources: paths as they are to stand in the report."""

    goal: str
    sources: tuple[str, ...]
    budget: Budget | None = None

    @property
    def roots(self) -> tuple[str, ...]:
        """The sources as absolute paths: all that workers may read."""
        return tuple(str(Path(source).absolute()) for source in self.sources)


def question(goal: str, sources: Sequence[str], budget: Budget | None = None) -> Question:
    """The question as asked, with Waybill's own documentation where goal or sources are left open.

    Relative sources are meant from the working directory. Whether they exist is the agents' to find out.
    Raises `InvalidArgument` for a source that cannot be allowed, or if the documentation is not at hand.
    """
    paths = [str(Path(source).expanduser()) for source in sources] or _documentation()
    asked = Question(goal or DEFAULT_GOAL, tuple(paths), budget)
    for root in asked.roots:
        if os.pathsep in root:
            raise InvalidArgument.of_field("--sources", f"{root} has a {os.pathsep!r} in it: rename or link it")
    return asked


def _documentation() -> list[str]:
    source_tree, here = Path(waybill.__file__).resolve().parents[2], Path.cwd()
    for root in (source_tree, here):
        if (root / "README.md").is_file() and (root / "docs").is_dir():
            named = root.relative_to(here) if root.is_relative_to(here) else root
            return [str(named / name) for name in _OWN_SOURCES]
    raise InvalidArgument.of_field(
        "--sources", "Waybill's own README.md and docs/ are not here: name the folders or files to answer from"
    )


async def run(asked: Question, data_path: Path | None, *, as_json: bool) -> int:
    """Answer the question on a suite of its own. Exit code 0 with the report on stdout, 1 if the task failed.

    Raises `Unavailable` if the suite does not become ready or a part of it keeps dying.
    """
    with _data_directory(data_path) as data:

        async def work(suite: Suite, supervisor: Supervisor) -> int:
            exits.say(f"starting the suite in {data.path}")
            await all_ready(supervisor, shown=not as_json)
            answering = asyncio.create_task(_answer(suite, asked, as_json=as_json))
            breaking = asyncio.create_task(supervisor.broken())
            try:
                await asyncio.wait({answering, breaking}, return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    raise breakdown(breaking.result())
                return answering.result()
            finally:
                breaking.cancel()
                answering.cancel()
                await asyncio.wait({answering, breaking})

        return await run_suite(SuiteOptions(source_roots=asked.roots), data, work)


@contextlib.contextmanager
def _data_directory(chosen: Path | None) -> Iterator[DataDirectory]:
    """The chosen directory, or the default one, or, while that is taken or not writable, a temporary one."""
    with contextlib.ExitStack() as stack:
        if chosen is not None:
            yield stack.enter_context(DataDirectory(chosen))
            return
        try:
            data = DataDirectory(DEFAULT_DATA_DIRECTORY, lock_wait_seconds=_LOCK_WAIT_SECONDS)
            stack.enter_context(data)
        except (FailedPrecondition, InvalidArgument):
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="waybill-"))
            data = stack.enter_context(DataDirectory(Path(temporary)))
        yield data


async def _answer(suite: Suite, asked: Question, *, as_json: bool) -> int:
    async with Client(suite.grpc_address) as client:
        exits.say(f"goal: {asked.goal}")
        task = await client.submit(goal=asked.goal, paths=asked.sources, budget=asked.budget)
        try:
            style = Style.for_stream(sys.stderr)
            progress = await follow(client, task.name, sys.stderr, style, goal=asked.goal)
        except asyncio.CancelledError:
            await _give_up(client, task)
            raise
        ended = await client.get(task)
    _print_result(ended, progress, as_json=as_json)
    return exits.OK if succeeded(progress) else exits.FAILED


async def _give_up(client: Client, task: Task) -> None:
    """Cancel what nobody waits for any more, if that is quickly done; a later suite would go on with it."""
    with contextlib.suppress(WaybillError, TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await client.cancel(task)


def _print_result(task: Task, progress: TaskProgress, *, as_json: bool) -> None:
    output = task.output if isinstance(task.output, dict) else {"report": task.output}
    for warning in output.get("warnings", []):
        exits.say(f"warning: {warning}")
    if task.failure is not None:
        exits.say(f"the task failed ({task.failure.reason}): {task.failure.message}")
    if as_json:
        print(json.dumps(_summary(task, output, progress), ensure_ascii=False), flush=True)
    elif task.output is not None:
        print(output_text(task.output), flush=True)


def _summary(task: Task, output: dict[str, Any], progress: TaskProgress) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "task": task.name,
        "state": task.state.value,
        "report": output.get("report") or "",
        "sources": output.get("sources") or [],
        "warnings": output.get("warnings") or [],
        "usage": {name: getattr(task.usage, name) for name in Usage.__struct_fields__},
        "elapsed_seconds": progress.elapsed_ms / 1000,
    }
    if task.failure is not None:
        summary["failure"] = {"reason": task.failure.reason, "message": task.failure.message}
    return summary
