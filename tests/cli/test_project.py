"""Which agents of a project `waybill up` runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from waybill.cli.project import named_agents, project_agents
from waybill.errors import InvalidArgument

ANNOUNCED = """[project.entry-points."waybill.agents"]
one = "pack_one.agents"
two = "mod_two:name"
again = "mod_two"
"""


def test_given_a_project_that_announces_agents_then_its_modules_are_found_in_its_folders(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(ANNOUNCED)
    (tmp_path / "src" / "pack_one").mkdir(parents=True)
    (tmp_path / "src" / "pack_one" / "__init__.py").touch()
    (tmp_path / "mod_two.py").touch()
    own = project_agents(tmp_path)
    assert own.modules == ("pack_one.agents", "mod_two")
    assert own.folders == (tmp_path / "src", tmp_path)
    assert own.environment()["WAYBILL_WORKER_AGENTS"] == "pack_one.agents,mod_two"


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "project = 5\n", "[project.entry-points]\nx = 'y'\n"])
def test_given_a_project_without_agents_then_nothing_is_set(tmp_path: Path, text: str) -> None:
    assert project_agents(tmp_path).environment() == {}
    (tmp_path / "pyproject.toml").write_text(text)
    assert project_agents(tmp_path).environment() == {}


def test_what_is_set_already_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_AGENTS", "first, second")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    (tmp_path / "second.py").touch()
    (tmp_path / "third.py").touch()
    environment = named_agents(["second,third"], tmp_path).environment()
    assert environment["WAYBILL_WORKER_AGENTS"] == "first,second,third"
    assert environment["PYTHONPATH"] == os.pathsep.join((str(tmp_path), "/somewhere"))


@pytest.mark.parametrize("name", ["no_such_module", "not-a-name", "a..b", "../x"])
def test_given_a_module_that_is_nowhere_then_it_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="--agents: there is no module") as raised:
        named_agents([name], tmp_path)
    assert name in raised.value.message


def test_given_a_broken_project_file_then_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(InvalidArgument, match=r"pyproject\.toml: cannot be read"):
        project_agents(tmp_path)
