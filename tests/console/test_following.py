"""Tasks that are submitted in the page and followed live."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from chaos.proxy import Link
from console_browser import Console
from console_suite import ConsoleSuite
from playwright.async_api import Route, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIDES = "A tide is the rise and fall of the sea. The moon causes most of the tide.\n\nA boat floats on the sea."
WORDS = ["one ", "two ", "three ", "𝄞four ", "five "]


def gated(gate: str, words: list[str] = WORDS) -> dict:
    return {
        "steps": [
            {"name": "first", "agent": "echo", "input": {"value": 1}},
            {"name": "wait", "agent": "gated", "input": {"gate": gate, "words": words}, "after": ["first"]},
            {"name": "last", "agent": "echo", "input": {"value": "${wait.words}"}},
        ]
    }


async def test_a_goal_is_submitted_and_followed_to_its_report(console: Console) -> None:
    page = console.page
    await console.open()
    await page.get_by_role("link", name="New task").click()
    await page.get_by_label("What do you want to know, or have done?").fill("What is a tide?")
    await page.get_by_label("Files").set_input_files(
        [{"name": "tides.md", "mimeType": "text/markdown", "buffer": TIDES.encode()}]
    )
    await expect(page.get_by_text("tides.md")).to_be_visible()
    await console.button("Submit").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("What is a tide?")
    await console.expect_state("succeeded")
    await expect(console.node("write")).to_have_attribute("data-state", "succeeded")
    await console.tab("Report").click()
    report = page.get_by_role("article", name="Report")
    await expect(report).to_contain_text("A tide is the rise and fall of the sea.")
    await expect(report.get_by_role("heading", name="Sources")).to_be_visible()
    await expect(page).to_have_url(re.compile("view=report"))
    await page.reload()
    await expect(report).to_be_visible()


async def test_a_plan_is_submitted_and_its_streamed_text_comes_word_by_word(
    console: Console, suite: ConsoleSuite
) -> None:
    gate, page = suite.gate(), console.page
    task = suite.submit(plan=gated(str(gate.path)), labels={"kind": "live"})
    await console.open_task(task, "?step=wait")
    streamed = page.locator(".streamed")
    for number in range(1, len(WORDS) + 1):
        gate.open()
        await expect(streamed).to_have_text("".join(WORDS[:number]))
        await expect(console.node("wait")).to_have_attribute("data-state", "running")
    await expect(page.locator(".link-state")).to_have_text("live")
    await expect(page.get_by_role("progressbar", name="Steps that have ended")).to_have_attribute("aria-valuenow", "1")
    gate.open()
    await console.expect_state("succeeded")
    await expect(page.locator(".link-state")).to_have_text("complete")
    await expect(page.get_by_role("progressbar", name="Steps that have ended")).to_have_attribute("aria-valuenow", "3")
    await expect(page.locator(".panel")).to_contain_text('"words": 5')
    assert await streamed.text_content() == "".join(WORDS)


async def test_a_stream_that_is_cut_resumes_without_loss_or_doubles(console: Console, suite: ConsoleSuite) -> None:
    gate, page = suite.gate(), console.page
    link = Link("browser-gateway", "127.0.0.1", suite.http_port)
    await link.open()
    try:
        console.url, console.cuts = f"http://127.0.0.1:{link.port}", True
        task = suite.submit(plan=gated(str(gate.path)))
        await console.open_task(task, "?step=wait")
        streamed = page.locator(".streamed")
        for number in range(1, len(WORDS) + 1):
            link.refusing = True
            assert link.cut() > 0
            await expect(page.locator(".link-state")).to_have_text("connection lost, trying again…")
            gate.open()
            link.refusing = False
            await expect(streamed).to_have_text("".join(WORDS[:number]))
        gate.open()
        await console.expect_state("succeeded")
        await console.tab("Events").click()
        seen = await page.locator(".events li").evaluate_all("rows => rows.map(row => row.value)")
        assert seen == sorted(set(seen), reverse=True)
        history = suite.call("GET", task)["last_sequence"]
        assert len(seen) == history - len(WORDS), "each event is listed once; only streamed text is not listed"
        asked = [url for url in console.requests if url.endswith("/events")]
        assert len(asked) > len(WORDS)
    finally:
        await page.goto("about:blank")
        await link.close()


async def test_text_of_an_attempt_that_failed_is_void(console: Console, suite: ConsoleSuite) -> None:
    gate, page = suite.gate(), console.page
    moody = {"name": "moody", "agent": "moody", "input": {"gate": str(gate.path)}}
    task = suite.submit(plan={"steps": [{**moody, "retry": {"max_attempts": 9, "initial_backoff_ms": 300}}]})
    await console.open_task(task, "?step=moody")
    await expect(page.locator(".streamed.void")).to_contain_text("words of attempt")
    await expect(page.get_by_text("This attempt did not end well")).to_be_visible()
    gate.open()
    await console.expect_state("succeeded")
    await expect(page.locator(".streamed")).not_to_have_class("void")
    attempt = suite.call("GET", f"{task}/steps")["steps"][0]["attempt"]
    await expect(page.locator(".streamed")).to_have_text(f"words of attempt {attempt}")
    await expect(page.locator(".panel table tbody tr")).to_have_count(attempt)


async def test_a_task_that_somebody_else_retries_is_followed_again(console: Console, suite: ConsoleSuite) -> None:
    gate = suite.gate()
    moody = {"name": "moody", "agent": "moody", "input": {"gate": str(gate.path)}, "retry": {"max_attempts": 1}}
    task = suite.submit(plan={"steps": [moody]})
    await console.open_task(task)
    await console.expect_state("failed")
    gate.open()
    await asyncio.to_thread(suite.call, "POST", f"{task}:retry")
    await console.expect_state("succeeded")
    await expect(console.node("moody")).to_have_attribute("data-state", "succeeded")


async def test_a_task_that_is_not_there_says_so(console: Console) -> None:
    console.refusals = {404}
    await console.open("#/tasks/0-nothing")
    await expect(console.page.get_by_role("alert")).to_contain_text("NOT_FOUND")
    await console.page.get_by_role("link", name="All tasks").click()
    await expect(console.page.get_by_role("heading", name="Tasks", level=1)).to_be_visible()


async def test_a_plan_that_grows_is_drawn_anew_while_it_runs(console: Console, suite: ConsoleSuite) -> None:
    gate = suite.gate()
    grow = {"name": "grow", "agent": "grower", "input": {"gate": str(gate.path)}}
    task = suite.submit(plan={"steps": [grow, {"name": "end", "agent": "echo", "input": {}, "after": ["grow"]}]})
    await console.open_task(task)
    await expect(console.page.locator(".node")).to_have_count(2)
    await console.node("grow").focus()
    gate.open()
    await expect(console.page.locator(".node")).to_have_count(4)
    await expect(console.node("grow")).to_be_focused()
    await console.expect_state("succeeded")
    await expect(console.node("right")).to_have_attribute("data-state", "succeeded")
    await console.tab("Events").click()
    await expect(console.page.get_by_text("Revision 2", exact=True)).to_be_visible()


async def test_a_history_that_the_store_lost_is_forgotten(console: Console, suite: ConsoleSuite) -> None:
    """The stream is told by the test: first one that breaks, then one in which the history begins anew."""
    task = suite.submit(plan={"steps": [{"name": "ask", "input": {}, "question": {"prompt": "?"}}]})
    asked: list[str | None] = []
    streams = list(STREAMS)

    async def tell(route: Route) -> None:
        asked.append(route.request.headers.get("last-event-id"))
        await route.fulfill(status=200, content_type="text/event-stream", body=streams.pop(0) if streams else STREAM)

    await console.page.route("**/events", tell)
    await console.open_task(task, "?view=events")
    await expect(console.page.locator(".events li")).to_have_count(2)
    await expect(console.page.locator(".events li").first).to_contain_text("other")
    await expect(console.page.locator(".events li").last).to_contain_text("task accepted")
    assert asked[:3] == [None, "2.bbbbbbbb", "2.bbbbbbbb"]


def _sent(sequence: int, digest: str, kind: str, **more: object) -> str:
    event = {"sequence": sequence, "time": "2026-11-24T01:39:26.045Z", "type": kind, **more}
    return f"id: {sequence}.{digest}\nevent: {kind}\ndata: {json.dumps(event)}\n\n"


ACCEPTED = _sent(1, "aaaaaaaa", "task_accepted", state="running")
RESET = "event: stream_reset\ndata: {}\n\n"
FAILED = "event: watch_failed\ndata: {}\n\n"
STREAM = RESET + ACCEPTED + _sent(2, "cccccccc", "step_ready", step="other") + ": waits\n\n"
STREAMS = [ACCEPTED + _sent(2, "bbbbbbbb", "step_ready", step="lost"), FAILED, STREAM]
