"""Schedules and templates in the console."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from console_browser import Console
from console_suite import ConsoleSuite
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_schedule_is_made_fired_paused_and_deleted(console: Console, suite: ConsoleSuite) -> None:
    page = console.page
    await console.use_tenant("recurring")
    await console.open()
    await page.get_by_role("link", name="Schedules").click()
    await expect(page.get_by_text("No schedules")).to_be_visible()
    await console.button("New schedule").click()
    dialog = page.get_by_role("dialog", name="New schedule")
    await expect(dialog.get_by_label("Name")).to_be_focused()
    await dialog.get_by_label("Name").fill("nightly")
    await dialog.get_by_label("Cron expression").fill("never")
    await dialog.get_by_label("While an earlier task runs").select_option("allow")
    await dialog.get_by_label("What is submitted").fill(
        '{"plan": {"steps": [{"name": "say", "agent": "echo", "input": {"value": 1}}]}}'
    )
    console.refusals = {400}
    await console.button("Create").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("cron")
    await dialog.get_by_label("Cron expression").fill("30 8 * * MON-FRI")
    await dialog.get_by_label("Time zone").fill("Europe/Berlin")
    await console.button("Create").click()
    card = page.locator("li.card")
    await expect(card).to_contain_text("30 8 * * MON-FRI (Europe/Berlin)")
    await console.button("Trigger nightly").click()
    await expect(card).to_contain_text("Submitted1")
    await card.get_by_text("Firings and what is submitted").click()
    await expect(card).to_contain_text("submitted")
    await console.button("Pause nightly").click()
    await expect(card.locator(".badge")).to_have_text("paused")
    await console.button("Resume nightly").click()
    await expect(console.button("Pause nightly")).to_be_visible()
    await card.get_by_role("link", name="nightly").click()
    await expect(page.locator("li.task .badge")).to_have_text("succeeded")
    await page.go_back()
    await console.button("Delete nightly").click()
    await console.button("Delete it").click()
    await expect(page.get_by_text("No schedules")).to_be_visible()
    assert (await asyncio.to_thread(suite.call, "GET", "schedules", "recurring"))["schedules"] == []


async def test_a_template_is_looked_at_and_submitted_with_its_parameters(console: Console) -> None:
    page = console.page
    await console.use_tenant("templates")
    await console.open()
    await page.get_by_role("link", name="Templates").click()
    card = page.locator("li.card", has_text="Greets somebody")
    await card.get_by_text("Plan and parameters").click()
    await expect(card).to_contain_text("Hello ${parameters.who}")
    await card.get_by_role("link", name="Use the template greet").click()
    await expect(page.locator("#submit-template")).to_have_value("greet")
    await console.button("Submit").click()
    await expect(page.get_by_role("alert")).to_contain_text("who is missing")
    await page.get_by_label("who").fill("Ada")
    await console.button("Submit").click()
    await console.expect_state("succeeded")
    await console.tab("Report").click()
    await expect(page.locator(".report")).to_contain_text("Hello Ada")
    await page.get_by_role("link", name="Templates").click()
    await card.get_by_role("link", name="Tasks of the template greet").click()
    await expect(page.locator("li.task")).to_have_count(1)


async def test_a_task_that_begins_later_shows_when(console: Console, suite: ConsoleSuite) -> None:
    page = console.page
    await console.use_tenant("later")
    await console.open("#/submit")
    await page.get_by_label("What do you want to know, or have done?").fill("What is a tide?")
    await page.get_by_text("Options").click()
    await page.get_by_label("Begins at").fill(f"{datetime.now() + timedelta(days=1):%Y-%m-%dT%H:%M}")
    await page.get_by_label("Labels").fill("kind=later")
    await console.button("Submit").click()
    await console.expect_state("scheduled")
    await expect(page.locator(".facts")).to_contain_text("Starts")
    await console.button("Cancel").click()
    await console.button("Cancel the task").click()
    await console.expect_state("cancelled")
