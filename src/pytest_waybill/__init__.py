"""The pytest plugin of Waybill: fixtures for tests of agents, of plans, and of code that calls a gateway.

pytest loads it wherever Waybill is installed, so it imports nothing of Waybill before a test asks for a fixture.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import pytest

if TYPE_CHECKING:
    from waybill import SyncClient
    from waybill.testing import AgentRun, PlanRun, ScriptedModel
    from waybill.testing.suite import PrivateSuite

Given = ParamSpec("Given")
Returned = TypeVar("Returned")
_AGENTS_INI = "waybill_agents"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the setting that names the agents of the suite."""
    parser.addini(_AGENTS_INI, "modules with the agents that the suite of waybill_suite runs", type="args", default=[])


def _waited_for(function: Callable[Given, Awaitable[Returned]]) -> Callable[Given, Returned]:
    """The async function as one that waits, also where a loop runs already."""

    @functools.wraps(function)
    def waiting(*args: Given.args, **options: Given.kwargs) -> Returned:
        async def run() -> Returned:
            return await function(*args, **options)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(run())
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, run()).result()

    return waiting


@pytest.fixture
def waybill_run_agent() -> Callable[..., AgentRun]:
    """Runs one attempt of an agent in memory: `waybill.testing.run_agent`, for tests that are not async."""
    from waybill.testing import run_agent

    return _waited_for(run_agent)


@pytest.fixture
def waybill_run_plan() -> Callable[..., PlanRun]:
    """Runs a whole plan in memory: `waybill.testing.run_plan`, for tests that are not async."""
    from waybill.testing import run_plan

    return _waited_for(run_plan)


@pytest.fixture
def waybill_model() -> Callable[..., ScriptedModel]:
    """Makes models that answer from a script: `waybill_model(["first answer", "second"])`."""
    from waybill.testing import ScriptedModel

    return ScriptedModel


@pytest.fixture(scope="session")
def waybill_agents(pytestconfig: pytest.Config) -> Sequence[str]:
    """The modules whose agents the suite runs: the setting `waybill_agents`, unless a conftest.py says otherwise."""
    return list(pytestconfig.getini(_AGENTS_INI))


@pytest.fixture(scope="session")
def waybill_suite(waybill_agents: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSuite]:
    """A suite of real processes with a store of its own, started once, stopped at the end of the session."""
    from waybill.testing.suite import private_suite

    with private_suite(tmp_path_factory.mktemp("waybill"), waybill_agents) as suite:
        yield suite


@pytest.fixture(scope="session")
def waybill_client(waybill_suite: PrivateSuite) -> Iterator[SyncClient]:
    """A client of that suite that waits."""
    with waybill_suite.client() as client:
        yield client
