"""The pytest plugin, as a user's own tests see it."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
AGENTS = '''
from waybill import Context, agent

@agent
async def shout(ctx: Context, text: str) -> str:
    """In capitals."""
    ctx.text(text)
    return text.upper()

@agent
async def asked(ctx: Context, question: str) -> str:
    """What a model says."""
    return (await ctx.chat(question)).text
'''
IN_MEMORY = """
import asyncio

import my_agents

PLAN = {"steps": [
    {"name": "ask", "input": {}, "question": {"prompt": "What?"}},
    {"name": "say", "agent": "shout", "input": {"text": "${ask}"}},
]}

def test_an_agent(waybill_run_agent, waybill_model):
    assert waybill_run_agent(my_agents.shout, {"text": "a"}).output == "A"
    model = waybill_model(["forty-two"])
    assert waybill_run_agent(my_agents.asked, {"question": "?"}, model=model).output == "forty-two"

def test_a_plan(waybill_run_plan):
    ran = waybill_run_plan(PLAN, [my_agents], answers={"ask": "hello"})
    assert ran.output == "HELLO"
    assert ran.text == {"say": "hello"}

def test_where_a_loop_runs(waybill_run_agent):
    async def cell():
        return waybill_run_agent(my_agents.shout, {"text": "a"}).output
    assert asyncio.run(cell()) == "A"
"""
ON_A_SUITE = """
import os
import pathlib

PLAN = {"steps": [{"name": "say", "agent": "shout", "input": {"text": "hello"}}]}

def test_a_task_runs_with_the_users_agents(waybill_suite, waybill_client):
    assert waybill_client.run(plan=PLAN).result() == "HELLO"
    assert waybill_suite.http.startswith("http://127.0.0.1:")
    assert "shout" in [agent.id for agent in waybill_client.agents()]

def test_the_suite_is_shared(waybill_suite):
    with waybill_suite.client() as client:
        assert len(list(client.list())) == 1
    pathlib.Path("suite.txt").write_text(str(waybill_suite.folder))
    if "hang" in os.environ:
        import time
        time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder with agents and tests."""
    (tmp_path / "my_agents.py").write_text(AGENTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\nwaybill_agents = my_agents\n")
    return tmp_path


def started(project: Path, test: str, **environment: str) -> subprocess.Popen[str]:
    (project / "test_mine.py").write_text(test)
    installed = {point.name for point in importlib.metadata.entry_points(group="pytest11")}
    plugin = [] if "waybill" in installed else ["-p", "pytest_waybill"]
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, "test_mine.py"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": paths, "WAYBILL_REDIS_URL": "redis://127.0.0.1:1/0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcome(project: Path, test: str) -> str:
    with started(project, test) as process:
        output, _ = process.communicate(timeout=150)
    return output.splitlines()[-1]


def suite_processes(project: Path) -> list[psutil.Process]:
    """Processes of a suite whose data lies where the project's tests said."""
    folder = (project / "suite.txt").read_text()
    everything = psutil.process_iter(["cmdline"])
    return [process for process in everything if any(folder in part for part in process.info["cmdline"] or ())]


def test_agents_and_plans_run_in_tests_that_are_not_async(project: Path) -> None:
    assert outcome(project, IN_MEMORY).startswith("3 passed")


def test_a_suite_runs_the_users_agents_and_stops_at_the_end(project: Path) -> None:
    assert outcome(project, ON_A_SUITE).startswith("2 passed")
    assert suite_processes(project) == []


def test_given_a_killed_test_run_then_its_suite_dies_with_it(project: Path) -> None:
    with started(project, ON_A_SUITE, hang="1") as process:
        deadline = time.monotonic() + 120
        while not (project / "suite.txt").exists() or not (project / "suite.txt").read_text():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert suite_processes(project)
        process.send_signal(signal.SIGKILL)
        process.wait()
        while suite_processes(project):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_given_agents_that_do_not_load_then_the_error_says_so(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\npythonpath = .\nwaybill_agents = no_such_module\n")
    with started(project, ON_A_SUITE) as process:
        output, _ = process.communicate(timeout=150)
    assert "there is no module no_such_module" in output


def test_the_plugin_loads_nothing_of_waybill_before_it_is_used() -> None:
    code = "import sys, pytest_waybill; print([name for name in sys.modules if name.split('.')[0] == 'waybill'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_the_distribution_announces_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"waybill": "pytest_waybill"}
    assert "src/pytest_waybill" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
