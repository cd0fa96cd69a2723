"""What `waybill init` writes, where, and when it refuses to."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from waybill.cli.init import write_project
from waybill.errors import InvalidArgument


def test_a_project_is_named_after_its_folder_and_announces_its_agents(tmp_path: Path) -> None:
    project = write_project(tmp_path / "My first_Agents", "")
    assert (project.name, project.module) == ("my-first-agents", "my_first_agents")
    written = {path.name: path.read_text() for path in (tmp_path / "My first_Agents").iterdir()}
    assert sorted(written) == sorted(project.files)
    assert [name for name, text in written.items() if "@name@" in text or "@module@" in text] == []
    described = tomllib.loads(written["pyproject.toml"])
    assert described["project"]["name"] == "my-first-agents"
    assert described["project"]["entry-points"]["waybill.agents"] == {"my-first-agents": "my_first_agents"}


def test_the_container_file_builds_in_stages_and_runs_without_privileges(tmp_path: Path) -> None:
    write_project(tmp_path, "boats")
    lines = (tmp_path / "Dockerfile").read_text().splitlines()
    images = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(images) == 2
    assert [line for line in lines if line.startswith(("USER", "ENTRYPOINT"))] == [
        "USER 10001",
        'ENTRYPOINT ["python", "-m", "waybill_worker"]',
    ]


@pytest.mark.parametrize(
    "name", ["A b", "9lives", "a--b", "a-", "a_b", "ä", "a" * 41, "../x", "json", "class", "waybill"]
)
def test_given_a_name_that_cannot_be_one_then_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="--name"):
        write_project(tmp_path / "new", name)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("there", ["README.md", "boats.py", ".gitignore"])
def test_given_a_file_that_is_there_then_nothing_is_overwritten_or_added(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(InvalidArgument, match="nothing is overwritten") as raised:
        write_project(tmp_path, "boats")
    assert there in raised.value.message
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_given_it_is_done_twice_then_the_second_time_is_refused(tmp_path: Path) -> None:
    write_project(tmp_path, "boats")
    with pytest.raises(InvalidArgument, match="nothing is overwritten"):
        write_project(tmp_path, "boats")


def test_given_a_folder_that_cannot_be_made_then_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="cannot be written to"):
        write_project(tmp_path / "file" / "below", "boats")
