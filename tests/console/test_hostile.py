"""Hostile text stays text, wherever it comes from. The fixture asserts that nothing ran and nobody else was asked."""

from __future__ import annotations

import pytest
from console_browser import Console
from console_suite import ConsoleSuite
from hostile_texts import DEEP, MARKUP, REPORT
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAFE = {"https://elsewhere.example/good", "https://elsewhere.example/auto", "mailto:someone@elsewhere.example"}
PLAIN = {"http://elsewhere.example/", "http://elsewhere.example/picture.png"}
LABEL = '"><script>alert(40)</script><img src=x onerror=alert(41)>'
ACTIVE = "script, iframe, object, embed, style, link, base, meta, form, img, video, audio, source, math"
"""What a report never becomes."""


async def assert_inert(console: Console, selector: str = "#main") -> None:
    """Nothing in this part of the page is an element that could act, or has an attribute that could."""
    found = await console.page.locator(selector).evaluate(
        """(root, active) => [...root.querySelectorAll("*")].flatMap((element) => [
            ...(element.matches(active) && !element.matches("form.filters") ? [element.outerHTML] : []),
            ...[...element.attributes]
                .filter(({name}) => name.startsWith("on") || name === "src" || name === "srcdoc")
                .map(({name, value}) => `${name}=${value}`)])""",
        ACTIVE,
    )
    assert found == []


async def addresses(console: Console, selector: str) -> set[str]:
    return set(await console.page.locator(f"{selector} a").evaluate_all("links => links.map(link => link.href)"))


async def test_a_hostile_report_is_shown_as_it_was_written(console: Console, suite: ConsoleSuite) -> None:
    task = suite.submit(plan={"steps": [{"name": "say", "agent": "hostile", "input": {"text": REPORT}}]})
    await console.open_task(task, "?view=report&step=say")
    report = console.page.get_by_role("article", name="Report")
    await expect(report).to_contain_text("<script>alert(1)</script>")
    for text in ("alert(12)", "alert(26)", "alert(27)", "<script>alert(29)</script>", "[picture: picture]"):
        await expect(report).to_contain_text(text)
    for shown in ("[U+202E]gnp.exe[U+202C]", "[U+2066]text[U+2069]", "bell [U+0007]", "[U+001B][31m"):
        await expect(report).to_contain_text(shown)
    assert await addresses(console, ".report article") == SAFE | PLAIN
    for link in await report.get_by_role("link").all():
        assert await link.get_attribute("rel") == "noopener noreferrer"
    await console.page.get_by_text("The whole output as JSON").click()
    await expect(console.page.locator(".panel .streamed")).to_contain_text("<script>alert(1)</script>")
    await assert_inert(console)


async def test_hostile_words_of_people_and_agents_stay_words(console: Console, suite: ConsoleSuite) -> None:
    tenant = "hostile"
    await console.use_tenant(tenant)
    plan = {"steps": [{"name": "say", "agent": "hostile", "input": {"text": MARKUP, "fail": True}}]}
    failed = suite.submit(tenant, plan=plan, labels={"who": LABEL})
    suite.wait(failed, "failed", tenant=tenant)
    asked = {"prompt": MARKUP, "answer_schema": {"title": MARKUP[:60], "enum": [MARKUP[:90], LABEL]}}
    asks = suite.submit(tenant, plan={"steps": [{"name": "ask", "input": {"about": MARKUP}, "question": asked}]})
    goal = suite.submit(tenant, goal=MARKUP, documents=[{"name": LABEL[:60], "text": REPORT}])
    suite.wait(goal, "succeeded", tenant=tenant)
    await console.open()
    await expect(console.page.locator("li.task")).to_have_count(3)
    await expect(console.page.locator("#main")).to_contain_text("<script>alert(40)</script>")
    await assert_inert(console)
    for task, query in ((failed, "?step=say"), (failed, "?view=events"), (failed, "?view=steps"), (asks, "?step=ask")):
        await console.open_task(task, query)
        await expect(console.page.locator("#main")).to_contain_text("<script>alert(")
        await assert_inert(console)
    await console.open_task(goal, "?view=report")
    await expect(console.page.get_by_role("article", name="Report")).to_contain_text("alert(1)")
    await assert_inert(console)


async def test_hostile_addresses_of_the_page_do_nothing(console: Console) -> None:
    console.refusals = {400, 404}
    for where in ('#/tasks/"><img src=x onerror=alert(50)>', "#/tasks?label=<script>alert(51)</script>", "#/__proto__"):
        await console.open(where)
        await expect(console.page.locator("#main h1, #main [role=alert]").first).to_be_visible()
        await assert_inert(console)


async def test_text_that_is_made_to_take_long_is_read_at_once(console: Console) -> None:
    await console.open("#/agents")
    for name, text in DEEP.items():
        shown = await console.page.evaluate(
            """async (text) => (await import("./console/markdown.js")).markdown(text).textContent.length""", text
        )
        assert shown > 0, name


async def test_markup_that_a_script_would_write_is_refused_by_the_browser(console: Console) -> None:
    await console.open()
    refused = await console.page.evaluate(
        """() => { try { document.createElement("p").innerHTML = "<b>x</b>"; } catch (error) { return error.name; } }"""
    )
    assert refused == "TypeError"
    console.faults = [fault for fault in console.faults if "TrustedHTML" not in fault]
