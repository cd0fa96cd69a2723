"""The page about the API in a real browser: calls are found, tried, and their streams followed."""

from __future__ import annotations

import json
import re

import pytest
from console_browser import Console
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_task_is_run_from_the_page_and_followed_to_its_result(console: Console) -> None:
    page = console.page
    await console.open("docs#RunTask")
    call = page.locator("#RunTask")
    plan = {"steps": [{"name": "a", "agent": "echo", "input": {"value": 41}}]}
    await call.get_by_label("body").fill(json.dumps({"plan": plan}))
    await call.get_by_label("x-waybill-tenant").fill("api-page")
    await call.get_by_role("button", name="Send").click()
    output = call.locator("output")
    await expect(output).to_contain_text("200")
    await expect(output).to_contain_text("event: task_result")
    await expect(output).to_contain_text('"state":"succeeded"')


async def test_calls_are_found_by_words_and_opened_by_their_address(console: Console) -> None:
    page = console.page
    await console.open("docs")
    await page.get_by_label("Find a call").fill("post cancel")
    await expect(page.locator("details.call:visible")).to_have_count(1)
    await page.get_by_role("navigation", name="Calls").get_by_role("link", name=re.compile("cancel")).click()
    await expect(page.locator("#CancelTask")).to_have_attribute("open", "")


async def test_a_refused_call_shows_its_problem(console: Console) -> None:
    console.refusals.add(404)
    page = console.page
    await console.open("docs#GetTask")
    call = page.locator("#GetTask")
    await call.get_by_label("task", exact=True).fill("a/b?c")
    await call.get_by_role("button", name="Send").click()
    await expect(call.locator("output")).to_contain_text("404")
    await expect(call.locator("output")).to_contain_text('"reason": "ROUTE_NOT_FOUND"')


async def test_what_the_answer_holds_stays_text(console: Console) -> None:
    page = console.page
    await console.open("docs#SubmitTask")
    call = page.locator("#SubmitTask")
    await call.get_by_label("body").fill('{"goal": "<img src=x onerror=alert(1)><script>alert(2)</script>"}')
    await call.get_by_role("button", name="Send").click()
    await expect(call.locator("output pre")).to_contain_text("<script>alert(2)</script>")
    assert await call.locator("output img, output script").count() == 0


@pytest.mark.context_options(viewport={"width": 360, "height": 700})
async def test_the_page_fits_a_small_screen(console: Console) -> None:
    await console.open("docs#SubmitTask")
    await expect(console.page.locator("#SubmitTask")).to_have_attribute("open", "")
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await console.page.evaluate(overflow) == 0
