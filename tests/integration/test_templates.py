"""Templates through real processes: tasks made from them outlive them, and the planner too."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from waybill import Client, PlanBuilder
from waybill.core.task import TaskState
from waybill.errors import InvalidArgument, NotFound, Unavailable

TEMPLATE = """name: add-up
description: Adds numbers up, and asks before it says how many there are.
parameters:
  numbers: {type: array, items: {type: integer}, minItems: 1}
  title: {type: string, default: The sum}
  counted: {type: boolean, default: false}
required: [numbers]
plan:
  steps:
  - {name: sum, agent: add, input: {values: "${parameters.numbers}"}}
  - name: count
    agent: echo
    input: {value: "${parameters.numbers | length(@)}"}
    when: ["${parameters.counted}"]
  - name: tell
    agent: echo
    input: {value: {title: "${parameters.title}", sum: "${sum}", count: "${count.value}"}}
    allow_skipped: true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The planner's templates."""
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "add-up.yaml").write_text(TEMPLATE)
    return folder


def with_templates(folder: Path) -> dict[str, str]:
    return {"WAYBILL_PLANNER_TEMPLATES": str(folder)}


async def until(condition: Callable[[], Any]) -> Any:
    """What a call returns once it returns something and raises nothing."""
    async with asyncio.timeout(30):
        while True:
            try:
                if found := await condition():
                    return found
            except (NotFound, Unavailable):
                pass
            await asyncio.sleep(0.05)


async def test_tasks_are_made_from_templates_in_every_way(start: Any, folder: Path) -> None:
    suite = start(environment=with_templates(folder))
    async with Client(suite.address) as client:
        assert [template.id for template in await client.templates()] == ["add-up"]
        hostile = "${sum} $${ {{task}} ' \" \\ \x1b"
        task = await client.submit(template="add-up", parameters={"numbers": [1, 2, 3], "title": hostile})
        assert await client.result(task) == {"value": {"title": hostile, "sum": 6, "count": None}, "attempt": 1}
        assert (await client.get(task)).template == "add-up"
        assert [task.name async for task in client.list(template="add-up")] == [task.name]
        with pytest.raises(InvalidArgument) as refused:
            await client.submit(template="add-up", parameters={"numbers": ["a"], "tilte": 5})
        assert {item.field for item in refused.value.violations} == {"parameters.numbers[0]", "parameters.tilte"}
        with pytest.raises(NotFound, match="did you mean 'add-up'"):
            await client.submit(template="add-ups")
    async with httpx.AsyncClient(base_url=suite.http) as http:
        body = {"template": "add-up", "parameters": {"numbers": [4], "counted": True}}
        name = (await http.post("/v1/tasks", json=body)).json()["name"]
        steps = (await http.get(f"/v1/{name}/steps")).json()["steps"]
        assert [step["name"].rpartition("/")[2] for step in steps] == ["sum", "count", "tell"]
        assert (await http.get("/v1/templates/add-up")).json()["parameters_schema"]["required"] == ["numbers"]
    async with Client(suite.address) as client:
        assert await client.result(name) == {"value": {"title": "The sum", "sum": 4, "count": 1}, "attempt": 1}


async def test_a_repeated_submission_is_the_first_task_whatever_became_of_template_and_planner(
    start: Any, folder: Path
) -> None:
    suite = start(environment=with_templates(folder))
    arguments: dict[str, Any] = {"template": "add-up", "parameters": {"numbers": [1, 2]}, "request_id": "once"}
    async with Client(suite.address, patience_seconds=30) as client:
        first = await client.submit(**arguments)
        (folder / "add-up.yaml").write_text(TEMPLATE.replace("default: The sum", "default: Another"))
        assert (await client.submit(**arguments)).name == first.name
        for pid in suite.pids("planner"):
            os.kill(pid, signal.SIGSTOP)
        try:
            assert (await client.submit(**arguments)).name == first.name
            goal = await client.submit(plan={"steps": [{"name": "a", "agent": "echo"}]})
            assert (await client.result(goal))["attempt"] == 1  # nobody else waits for the planner
        finally:
            suite.kill("planner")  # the suite starts it again
        fresh = await until(lambda: client.submit(**{**arguments, "request_id": "twice"}))
        assert (await client.result(fresh))["value"]["title"] == "Another"
        (folder / "add-up.yaml").unlink()
        assert (await client.submit(**arguments)).name == first.name
        assert (await client.result(first))["value"] == {"title": "The sum", "sum": 3, "count": None}
        with pytest.raises(NotFound):
            await client.submit(**{**arguments, "request_id": "thrice"})


async def test_a_file_that_breaks_leaves_the_other_templates_and_comes_back_when_it_is_mended(
    start: Any, folder: Path
) -> None:
    suite = start(environment=with_templates(folder))
    (folder / "other.yaml").write_text("name: other\nrequired: []\nplan: {steps: [{name: a, agent: echo}]}")
    async with Client(suite.address) as client:
        assert [template.id for template in await client.templates()] == ["add-up", "other"]
        (folder / "add-up.yaml").write_text("name: add-up\nplan: [")
        assert [template.id for template in await client.templates()] == ["other"]
        (folder / "add-up.yaml").write_text(TEMPLATE)
        assert [template.id for template in await client.templates()] == ["add-up", "other"]
    log = (suite.data_dir / "logs" / "planner.log").read_text()
    assert log.count('"template unusable"') == 1


async def test_a_plan_that_was_built_in_python_runs(suite: Any) -> None:
    plan = PlanBuilder()
    parts = [plan.step(f"part-{number}", "echo", value=number) for number in range(3)]
    plan.step("total", "add", values=[part.output.value for part in parts])
    async with Client(suite.address) as client:
        task = await client.submit(plan=plan)
        assert await client.result(task) == 3
        assert (await client.get(task)).state is TaskState.SUCCEEDED
