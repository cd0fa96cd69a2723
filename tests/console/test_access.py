"""The console for everybody: by keyboard, with a reader, on a small screen, in the dark, without motion."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.async_playwright import Axe
from axe_playwright_python.base import AxeResults
from console_browser import Console
from console_suite import ConsoleSuite
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANT = "axe"
ASK = {"prompt": "Which?", "answer_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
DOCUMENT = {"name": "tides.md", "text": "A tide is the rise and fall of the sea. The moon causes most of the tide."}


@pytest.fixture(scope="module")
def places(suite: ConsoleSuite) -> dict[str, str]:
    """The address of every page, each with something on it, and what shows that it is there."""
    told = suite.submit(TENANT, goal="What is a tide?", documents=[DOCUMENT], labels={"team": "ocean"})
    bad = {"name": "bad", "agent": "hostile", "input": {"text": "", "fail": True}}
    failed = suite.submit(TENANT, plan={"steps": [bad]})
    spent = suite.submit(TENANT, plan={"steps": [{"name": "spend", "agent": "spender"}]})
    asks = suite.submit(TENANT, plan={"steps": [{"name": "ask", "input": {"text": "Hi"}, "question": ASK}]})
    for task in (told, failed, spent):
        suite.wait(task, "succeeded", "failed", tenant=TENANT)
    return {
        "#/tasks?label=team%3Docean": "li.task",
        "#/submit": "textarea",
        f"#/{told}?step=analyse-1": ".panel .payload",
        f"#/{told}?view=steps": "table.rows tbody tr",
        f"#/{told}?view=report": ".prose",
        f"#/{told}?view=events": ".events li",
        f"#/{spent}?view=costs": "table.rows tbody tr",
        f"#/{failed}": ".task-head .problem",
        f"#/{asks}": ".question",
        "#/letters": "#main .card, #main .nothing",
        "#/agents": ".card",
        "#/usage": "table tfoot",
        "#/nowhere": ".nothing",
    }


async def visit(console: Console, where: str, sign: str) -> None:
    await console.open(where)
    await expect(console.page.locator(sign).first).to_be_visible()


async def assert_accessible(console: Console, places: dict[str, str]) -> None:
    await console.use_tenant(TENANT)
    for where, sign in places.items():
        await visit(console, where, sign)
        found: AxeResults = await Axe().run(console.page)
        assert found.violations_count == 0, f"{where}: {found.generate_snapshot()}"


@pytest.mark.context_options(color_scheme="light", reduced_motion="reduce")
async def test_axe_finds_nothing_on_any_page_in_the_light(console: Console, places: dict[str, str]) -> None:
    await assert_accessible(console, places)


@pytest.mark.context_options(color_scheme="dark", reduced_motion="reduce")
async def test_axe_finds_nothing_on_any_page_in_the_dark(console: Console, places: dict[str, str]) -> None:
    await assert_accessible(console, places)


@pytest.mark.context_options(viewport={"width": 360, "height": 740}, has_touch=True)
async def test_no_page_scrolls_sideways_on_a_small_screen(console: Console, places: dict[str, str]) -> None:
    await console.use_tenant(TENANT)
    for where, sign in places.items():
        await visit(console, where, sign)
        width = await console.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, f"{where} is {width} pixels wide"


async def test_all_is_reached_by_the_keyboard(console: Console, places: dict[str, str]) -> None:
    page, press = console.page, console.page.keyboard.press
    await console.use_tenant(TENANT)
    await visit(console, "", "li.task")
    await press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await press("Tab")
    await expect(page.get_by_role("link", name="New task")).to_be_focused()
    links = page.locator("a.task-link")
    await links.first.focus()
    await press("ArrowDown")
    await expect(links.nth(1)).to_be_focused()
    await press("End")
    await press("ArrowUp")
    await press("Enter")
    title = page.get_by_role("heading", level=1)
    await expect(title).to_have_text("What is a tide?")
    await expect(title).to_be_focused()
    await expect(console.node("write")).to_be_visible()
    await console.tab("Graph").focus()
    await press("Tab")
    await expect(console.node("retrieve-1")).to_be_focused()
    await press("ArrowRight")
    await expect(console.node("analyse-1")).to_be_focused()
    await press("End")
    await expect(console.node("write")).to_be_focused()
    await press("ArrowLeft")
    await press("Enter")
    panel = page.get_by_role("complementary", name="Step analyse-1")
    await expect(panel.get_by_role("heading", name="analyse-1")).to_be_focused()
    await press("Escape")
    await expect(panel).to_have_count(0)
    await expect(console.node("analyse-1")).to_be_focused()
    await console.tab("Graph").focus()
    for view in ("Steps", "Report", "Events", "Costs", "Graph", "Costs"):
        await press("ArrowLeft" if view == "Costs" and await _is_chosen(console, "Graph") else "ArrowRight")
        await expect(console.tab(view)).to_be_focused()
        await expect(console.tab(view)).to_have_attribute("aria-selected", "true")
    await press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await press("Escape")
    await expect(console.tab("Costs")).to_be_focused()
    await press("g")
    await press("a")
    await expect(page.get_by_role("heading", name="Agents", level=1)).to_be_focused()
    await press("g")
    await press("t")
    await expect(page).to_have_url(re.compile("#/tasks$"))


async def _is_chosen(console: Console, name: str) -> bool:
    return await console.tab(name).get_attribute("aria-selected") == "true"


async def test_what_has_the_focus_can_be_seen(console: Console, places: dict[str, str]) -> None:
    await console.use_tenant(TENANT)
    await visit(console, "", "li.task")
    for _ in range(30):
        await console.page.keyboard.press("Tab")
        seen = await console.page.evaluate(
            """() => { const at = document.activeElement; if (at === document.body) return true;
                const shown = (element) => { const style = getComputedStyle(element);
                    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2; };
                return shown(at) || shown(at.closest("li") ?? at) || at.outerHTML; }"""
        )
        assert seen is True


@pytest.mark.context_options(color_scheme="dark")
async def test_colours_follow_the_system_until_somebody_chooses(console: Console) -> None:
    page = console.page
    ground = "getComputedStyle(document.body).backgroundColor"
    await console.open()
    dark = await page.evaluate(ground)
    switch = page.get_by_role("button", name=re.compile("^Colours"))
    await switch.click()
    light = await page.evaluate(ground)
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 200 < 600 < sum(map(int, re.findall(r"\d+", light)[:3]))
    await page.reload()
    assert await page.evaluate(ground) == light
    await switch.click()
    await switch.click()
    assert await page.evaluate(ground) == dark
    await expect(page.locator("html")).not_to_have_attribute("data-theme", re.compile("."))


@pytest.mark.context_options(reduced_motion="reduce")
async def test_nothing_moves_for_those_who_do_not_want_it(console: Console, places: dict[str, str]) -> None:
    await console.use_tenant(TENANT)
    await visit(console, next(where for where, sign in places.items() if sign == ".question"), ".node")
    assert await console.page.evaluate("document.getAnimations().length") == 0
