"""The list of tasks: filters, pages, tenants, and news."""

from __future__ import annotations

import asyncio
import re

import pytest
from console_browser import Console
from console_suite import ConsoleSuite
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


def echo(value: object) -> dict:
    return {"steps": [{"name": "say", "agent": "echo", "input": {"value": value}}]}


async def test_a_list_is_filtered_and_its_address_can_be_linked(console: Console, suite: ConsoleSuite) -> None:
    tenant, page = "filters", console.page
    await console.use_tenant(tenant)
    spent = suite.submit(tenant, plan={"steps": [{"name": "spend", "agent": "spender"}]}, labels={"team": "ocean"})
    said = suite.submit(tenant, plan=echo(1), labels={"team": "ocean", "kind": "daily"}, template="nightly")
    held = suite.submit(tenant, plan={"steps": [{"name": "ask", "input": {}, "question": {"prompt": "?"}}]})
    for task in (spent, said):
        suite.wait(task, "succeeded", tenant=tenant)
    await console.open()
    tasks = page.locator("li.task")
    await expect(tasks).to_have_count(3)
    await console.button("running").click()
    await expect(tasks).to_have_count(1)
    await expect(tasks).to_contain_text(held.removeprefix("tasks/"))
    await console.button("succeeded").click()
    await expect(tasks).to_have_count(3)
    await expect(page).to_have_url(re.compile(r"#/tasks\?state=running&state=succeeded"))
    await page.get_by_text("More filters").click()
    await page.get_by_label("Label").fill("team=ocean, kind=daily")
    await page.get_by_label("Template").fill("nightly")
    await page.get_by_label("Created").select_option("last hour")
    await expect(tasks).to_have_count(1)
    await expect(tasks).to_contain_text(said.removeprefix("tasks/"))
    linked = page.url
    await page.get_by_role("link", name="Clear filters").click()
    await expect(tasks).to_have_count(3)
    await page.get_by_label("Agent").fill("spender")
    await page.keyboard.press("Enter")
    await expect(tasks).to_have_count(1)
    await expect(tasks).to_contain_text("$0.0042")
    await page.go_back()
    await expect(tasks).to_have_count(3)
    await page.goto("about:blank")
    await page.goto(linked)
    await expect(tasks).to_have_count(1)
    await expect(page.get_by_label("Template")).to_have_value("nightly")
    await expect(console.button("running")).to_have_attribute("aria-pressed", "true")
    await tasks.get_by_role("link", name="kind=daily").click()
    await expect(page).to_have_url(re.compile(r"#/tasks\?label=kind%3Ddaily$"))
    console.refusals = {400}
    await page.get_by_label("Label").fill("nonsense")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("is not of the form key=value")


async def test_new_tasks_and_their_states_appear_by_themselves(console: Console, suite: ConsoleSuite) -> None:
    tenant, page = "news", console.page
    await console.use_tenant(tenant)
    await console.open()
    await expect(page.get_by_text("No tasks yet")).to_be_visible()
    gate = suite.gate()
    plan = {"steps": [{"name": "wait", "agent": "gated", "input": {"gate": str(gate.path)}}]}
    await asyncio.to_thread(suite.submit, tenant, plan=plan)
    task = page.locator("li.task")
    await expect(task.locator(".badge")).to_have_text("running")
    await task.get_by_role("link").first.focus()
    gate.open()
    await expect(task.locator(".badge")).to_have_text("succeeded")
    await expect(task.get_by_role("link").first).to_be_focused()


async def test_older_tasks_stand_on_further_pages(console: Console, suite: ConsoleSuite) -> None:
    tenant, page = "pages", console.page
    await console.use_tenant(tenant)
    requests = [{"plan": echo(number), "labels": {"number": str(number)}} for number in range(60)]
    suite.call("POST", "tasks:batch", tenant, requests=requests)
    await console.open()
    tasks = page.locator("li.task")
    await expect(tasks).to_have_count(50)
    newest = await tasks.locator(".label").all_text_contents()
    await page.get_by_role("link", name="Older").click()
    await expect(tasks).to_have_count(10)
    older = await tasks.locator(".label").all_text_contents()
    assert sorted(newest + older) == sorted(f"number={number}" for number in range(60))
    await page.get_by_role("link", name="Newest").click()
    await expect(tasks).to_have_count(50)


async def test_the_tenant_is_chosen_and_remembered(console: Console, suite: ConsoleSuite) -> None:
    page = console.page
    suite.submit("other", plan=echo("of another tenant"), labels={"of": "other"})
    await console.open("#/agents")
    await page.get_by_label("Tenant").fill("other")
    await page.keyboard.press("Enter")
    await page.get_by_role("navigation", name="Places").get_by_role("link", name="Tasks").click()
    await expect(page.locator("li.task")).to_contain_text("of=other")
    await page.reload()
    await expect(page.get_by_label("Tenant")).to_have_value("other")
    await expect(page.locator("li.task")).to_have_count(1)
    await page.get_by_label("Tenant").fill("not a tenant!")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Tenant")).to_have_attribute("aria-invalid", "true")
