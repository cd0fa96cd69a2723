"""Templates are the files of a folder, as it is now."""

from __future__ import annotations

import json
import os
from pathlib import Path

import grpc
import pytest
import structlog
from waybill_planner.__main__ import planner_server
from waybill_planner.settings import PlannerSettings
from waybill_planner.templates import MAX_TEMPLATE_BYTES, MAX_TEMPLATES, Templates

from waybill.api.v1 import planner_pb2, planner_pb2_grpc, task_pb2
from waybill.errors import InvalidArgument, NotFound
from waybill.rpc.channel import connect

GREET = {
    "name": "greet",
    "description": "Greets somebody.",
    "parameters": {"who": {"type": "string"}},
    "required": ["who"],
    "plan": {"steps": [{"name": "only", "agent": "echo", "input": {"text": "Hello ${parameters.who}"}}]},
}


def write(folder: Path, file: str, **changed: object) -> None:
    (folder / file).write_text(json.dumps({**GREET, **changed}))


def names(templates: Templates) -> list[str]:
    described = templates.describe(planner_pb2.DescribeTemplatesRequest())
    return [template.name.removeprefix("templates/") for template in described.templates]


def expand(templates: Templates, name: str = "greet", **parameters: object) -> task_pb2.Plan:
    payload = task_pb2.Payload(data=json.dumps(parameters).encode())
    return templates.expand(planner_pb2.ExpandTemplateRequest(template=name, parameters=payload)).plan


def test_given_a_folder_then_its_templates_are_described_and_expanded(tmp_path: Path) -> None:
    write(tmp_path, "b.json")
    write(tmp_path, "a.json", name="zz")
    (tmp_path / "note.txt").write_text("no template")
    (tmp_path / ".hidden.yaml").write_text("no template")
    (tmp_path / "folder.yaml").mkdir()
    templates = Templates(tmp_path)
    described = templates.describe(planner_pb2.DescribeTemplatesRequest()).templates
    assert [(item.name, item.description, item.plan) for item in described] == [
        ("templates/greet", "Greets somebody.", ""),
        ("templates/zz", "Greets somebody.", ""),
    ]
    assert json.loads(described[0].parameters_schema)["required"] == ["who"]
    one = templates.describe(planner_pb2.DescribeTemplatesRequest(name="templates/greet")).templates[0]
    assert json.loads(one.plan) == GREET["plan"]
    assert expand(templates, who="Ann").steps[0].input.data == b'{"text":"Hello Ann"}'


def test_given_a_file_that_changes_then_it_is_read_again(tmp_path: Path) -> None:
    templates = Templates(tmp_path)
    assert names(templates) == []
    write(tmp_path, "a.json")
    assert names(templates) == ["greet"]
    write(tmp_path, "a.json", name="welcome")
    assert names(templates) == ["welcome"]
    write(tmp_path, "new.json", name="greetx")
    os.replace(tmp_path / "new.json", tmp_path / "a.json")
    assert names(templates) == ["greetx"]
    (tmp_path / "a.json").unlink()
    assert names(templates) == []


def test_given_files_that_are_broken_then_each_is_told_once_and_the_others_serve(tmp_path: Path) -> None:
    write(tmp_path, "a.json")
    write(tmp_path, "same-name.json", description="another")
    (tmp_path / "broken.yaml").write_text("name: broken\nplan:\n  steps:\n  - agnet: x\n")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    with (tmp_path / "large.yaml").open("wb") as large:
        large.truncate(MAX_TEMPLATE_BYTES + 1)
    templates = Templates(tmp_path)
    with structlog.testing.capture_logs() as logs:
        assert names(templates) == ["greet"]
        assert names(templates) == ["greet"]
    told = [(entry.get("file", ""), entry.get("line"), entry.get("field")) for entry in logs]
    assert sorted(told, key=str) == sorted(
        [
            ("broken.yaml", 4, "plan.steps[0].name"),
            ("empty.yaml", 1, ""),
            ("large.yaml", 1, ""),
            ("", None, None),
            ("", None, None),
        ],
        key=str,
    )
    assert ["dangling" in entry["error"] or "same-name" in entry["error"] for entry in logs[-2:]] == [True, True]
    assert all(str(tmp_path) not in str(entry) for entry in logs)
    assert expand(templates, who="Ann").steps[0].name == "only"


@pytest.mark.parametrize("folder", [None, Path("/nowhere/at/all")])
def test_given_no_folder_then_there_are_no_templates(folder: Path | None) -> None:
    templates = Templates(folder)
    assert names(templates) == []
    with pytest.raises(NotFound, match="no template 'greet'; known templates: none"):
        expand(templates)


def test_given_too_many_files_then_the_first_are_used(tmp_path: Path) -> None:
    for number in range(MAX_TEMPLATES + 2):
        write(tmp_path, f"{number:04}.json", name=f"t{number}")
    assert len(names(Templates(tmp_path))) == MAX_TEMPLATES


def test_given_parameters_that_do_not_fit_then_each_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.json")
    with pytest.raises(InvalidArgument) as refused:
        expand(Templates(tmp_path), woh="Ann")
    assert [violation.field for violation in refused.value.violations] == ["parameters.woh", "parameters.who"]


async def test_given_a_planner_then_templates_are_had_over_the_wire(tmp_path: Path) -> None:
    write(tmp_path, "a.json")
    settings = PlannerSettings(grpc_port=0, metrics_port=0, shutdown_grace_seconds=0, templates=tmp_path)
    server = await planner_server(settings)
    try:
        async with connect(f"127.0.0.1:{server.grpc_port}") as channel:
            planner = planner_pb2_grpc.PlannerServiceStub(channel)
            described = await planner.DescribeTemplates(planner_pb2.DescribeTemplatesRequest())
            assert [template.name for template in described.templates] == ["templates/greet"]
            payload = task_pb2.Payload(data=b'{"who": "Ann"}')
            made = await planner.ExpandTemplate(planner_pb2.ExpandTemplateRequest(template="greet", parameters=payload))
            assert made.plan.steps[0].input.data == b'{"text":"Hello Ann"}'
            with pytest.raises(grpc.aio.AioRpcError, match="no template 'gret'; did you mean"):
                await planner.ExpandTemplate(planner_pb2.ExpandTemplateRequest(template="gret"))
    finally:
        await server.stop()
