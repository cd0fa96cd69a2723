"""One suite and one browser for all tests of the web console. Each test has a context, and so a storage, of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

sys.path.insert(0, str(Path(__file__).parent))

from console_browser import ARGUMENTS, CHROMIUM, WORST_MS, Console
from console_suite import ConsoleSuite, started

DEADLY = {"steps": [{"name": "deadly", "agent": "deadly", "input": {}}]}

GREET = {
    "name": "greet",
    "description": "Greets somebody.",
    "parameters": {"who": {"type": "string"}},
    "required": ["who"],
    "plan": {"steps": [{"name": "say", "agent": "echo", "input": {"value": "Hello ${parameters.who}"}}]},
}


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSuite]:
    """The suite, with a template, and with two steps that are dead letters a while later."""
    folder = tmp_path_factory.mktemp("console")
    templates = folder / "templates"
    templates.mkdir()
    (templates / "greet.json").write_text(json.dumps(GREET))
    running = started(folder, WAYBILL_PLANNER_TEMPLATES=str(templates))
    for tenant in ("letters", "axe"):
        running.submit(tenant, plan=DEADLY)
    yield running
    assert running.stop() == 0


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium."""
    assert CHROMIUM.exists(), f"{CHROMIUM} is missing: install Debian's package chromium, as .ci/run does"
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def console(browser: Browser, suite: ConsoleSuite, request: pytest.FixtureRequest) -> AsyncIterator[Console]:
    """A page in a context of its own, whose options a test may give by `context_options`. It must stay clean."""
    marker = request.node.get_closest_marker("context_options")
    options = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **(marker.kwargs if marker else {})}
    context = await browser.new_context(**options)
    context.set_default_timeout(WORST_MS)
    page = await context.new_page()
    opened = Console(page, suite.url)
    opened.watch(context)
    yield opened
    await context.close()
    opened.assert_clean()
