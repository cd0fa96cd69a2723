"""What the buttons of the console do."""

from __future__ import annotations

import asyncio

import pytest
from console_browser import Console
from console_suite import ConsoleSuite
from playwright.async_api import Route, expect

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWER = {
    "type": "object",
    "required": ["send", "to"],
    "properties": {
        "send": {"type": "boolean", "title": "Send it?"},
        "to": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "copies": {"type": "integer", "minimum": 1},
        "tone": {"enum": ["warm", "plain"]},
    },
}


def asking(**question: object) -> dict:
    steps = [
        {"name": "ask", "input": {"text": "Hello"}, "question": {"prompt": "Shall it be sent?", **question}},
        {"name": "after", "agent": "echo", "input": {"value": "${ask}"}},
    ]
    return {"steps": steps}


async def test_a_failed_task_is_retried(console: Console, suite: ConsoleSuite) -> None:
    gate = suite.gate()
    moody = {"name": "moody", "agent": "moody", "input": {"gate": str(gate.path)}, "retry": {"max_attempts": 1}}
    task = suite.submit(plan={"steps": [{"name": "kept", "agent": "echo", "input": {}}, {**moody, "after": ["kept"]}]})
    await console.open_task(task)
    await console.expect_state("failed")
    await expect(console.page.locator(".task-head .problem")).to_contain_text("the mood is bad")
    gate.open()
    await console.button("Retry").click()
    await console.expect_state("succeeded")
    await expect(console.page.locator(".task-head .problem")).to_have_count(0)
    await expect(console.node("moody")).to_contain_text("try 2")


async def test_a_task_is_paused_resumed_and_cancelled_after_a_question(console: Console, suite: ConsoleSuite) -> None:
    gate, page = suite.gate(), console.page
    steps = [{"name": name, "agent": "gated", "input": {"gate": str(gate.path), "words": ["a"]}} for name in ("x", "y")]
    task = suite.submit(plan={"steps": [steps[0], {**steps[1], "after": ["x"]}]})
    await console.open_task(task)
    await expect(console.node("x")).to_have_attribute("data-state", "running")
    await console.button("Pause").click()
    await console.expect_state("paused")
    await console.button("Resume").click()
    await console.expect_state("running")
    await console.button("Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel this task?")
    await expect(dialog.get_by_role("button", name="Keep")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(console.button("Cancel")).to_be_focused()
    await console.expect_state("running")
    await console.button("Cancel").click()
    await console.button("Cancel the task").click()
    await console.expect_state("cancelled")
    assert (await asyncio.to_thread(suite.call, "GET", task))["state"] == "cancelled"


async def test_a_question_is_answered_by_its_form(console: Console, suite: ConsoleSuite) -> None:
    task, page = suite.submit(plan=asking(answer_schema=ANSWER)), console.page
    await console.open_task(task)
    question = page.get_by_role("region", name="Question of ask")
    await expect(question).to_contain_text("Shall it be sent?")
    await question.get_by_role("button", name="Answer").click()
    await expect(question.get_by_role("alert")).to_contain_text("Answer.send")
    await question.get_by_label("Yes").check()
    await question.get_by_label("to", exact=True).fill("ann\n\nben\n")
    await question.get_by_label("copies").fill("many")
    await question.get_by_role("button", name="Answer").click()
    await expect(question.get_by_role("alert")).to_contain_text("must be a whole number")
    await question.get_by_label("copies").fill("0")
    console.refusals = {400}
    await question.get_by_role("button", name="Answer").click()
    await expect(question.get_by_role("alert")).to_contain_text("copies")
    await question.get_by_label("copies").fill("2")
    await question.get_by_label("warm").check()
    await question.get_by_role("button", name="Answer").click()
    await console.expect_state("succeeded")
    await expect(question).to_have_count(0)
    output = (await asyncio.to_thread(suite.call, "GET", task))["output"]
    assert output == {"send": True, "to": ["ann", "ben"], "copies": 2, "tone": "warm"}


async def test_a_question_without_a_schema_takes_any_json(console: Console, suite: ConsoleSuite) -> None:
    task, page = suite.submit(plan=asking()), console.page
    await console.open_task(task)
    await page.get_by_label("Answer", exact=True).fill("{nonsense")
    await console.button("Answer").click()
    await expect(page.get_by_role("alert")).to_contain_text("is no JSON")
    await page.get_by_label("Answer", exact=True).fill('{"id": 12345678901234567890}')
    await console.button("Answer").click()
    await console.expect_state("succeeded")
    await console.tab("Report").click()
    await expect(page.locator(".report")).to_contain_text('"id": 12345678901234567890')


async def test_what_is_typed_into_a_form_survives_news(console: Console, suite: ConsoleSuite) -> None:
    gate = suite.gate()
    ask = {"name": "ask", "input": {}, "question": {"prompt": "Well?", "answer_schema": {"type": "string"}}}
    work = {"name": "work", "agent": "gated", "input": {"gate": str(gate.path), "words": ["a", "b"]}}
    task = suite.submit(plan={"steps": [ask, work]})
    await console.open_task(task)
    answer = console.page.get_by_label("Answer", exact=True)
    await answer.fill("half an ans")
    gate.open(3)
    await expect(console.node("work")).to_have_attribute("data-state", "succeeded")
    await expect(answer).to_have_value("half an ans")
    await expect(answer).to_be_focused()


async def test_a_refused_submission_says_which_fields_are_wrong(console: Console) -> None:
    page = console.page
    console.refusals = {400}
    await console.open("#/submit")
    await console.button("Submit").click()
    await expect(page.get_by_role("alert")).to_contain_text("goal is missing")
    await console.tab("Plan").click()
    await page.get_by_label("Plan, as").fill('{"steps": [{"name": "Bad Name", "agent": "nobody"}]}')
    await console.button("Submit").click()
    await expect(page.get_by_role("alert")).to_contain_text("plan.steps[0].name")


async def test_a_dead_letter_is_looked_at_and_dropped(console: Console, suite: ConsoleSuite) -> None:
    page = console.page
    await console.use_tenant("letters")
    await console.open("#/letters")
    card = page.locator("li.card")
    await expect(card).to_have_count(1)
    await card.get_by_text("Input and attempts").click()
    await expect(card).to_contain_text("Attempt 1")
    await card.get_by_role("button", name="Drop").click()
    await page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    await expect(card).to_have_count(1)
    await card.get_by_role("button", name="Drop").click()
    await console.button("Drop it").click()
    await expect(page.get_by_text("No dead letters")).to_be_visible()
    assert (await asyncio.to_thread(suite.call, "GET", "deadLetters", "letters"))["dead_letters"] == []


async def test_an_agent_is_paused_and_resumed(console: Console, suite: ConsoleSuite) -> None:
    page = console.page
    await console.open("#/agents")
    await console.button("Pause spender").click()
    await console.button("Pause it").click()
    await expect(page.locator('li.card[data-key="agents/spender"] .badge')).to_have_text("paused")
    await console.button("Resume spender").click()
    await expect(console.button("Pause spender")).to_be_visible()


async def test_an_unknown_effect_is_decided_and_the_task_goes_on(console: Console, suite: ConsoleSuite) -> None:
    task, page = suite.submit(plan={"steps": [{"name": "send", "agent": "guarded"}]}), console.page
    await console.open_task(task, "?step=send")
    await console.expect_state("failed")
    panel = page.locator(".panel")
    await expect(panel).to_contain_text("Nobody knows whether it happened")
    await console.button("It did not").click()
    await console.button("Keep").click()
    await panel.get_by_label("What it returned").fill('{"id": 7}')
    await console.button("It happened").click()
    await expect(panel).to_contain_text("mail done")
    await console.button("Retry").click()
    await console.expect_state("succeeded")
    assert (await asyncio.to_thread(suite.call, "GET", task))["output"] == {"id": 7}


async def test_money_and_tokens_are_shown_where_they_were_spent(console: Console, suite: ConsoleSuite) -> None:
    budget = {"max_cost_microusd": 50_000}
    task = suite.submit(plan={"steps": [{"name": "spend", "agent": "spender"}]}, budget=budget)
    await console.open_task(task, "?step=spend")
    await console.expect_state("succeeded")
    await expect(console.page.locator(".task-head .facts")).to_contain_text("$0.0042 of $0.05")
    await expect(console.page.locator(".panel .facts")).to_contain_text("1,540")
    await console.tab("Costs").click()
    await expect(console.page.locator("table tfoot")).to_contain_text("1,200")


async def test_a_submission_whose_answer_is_lost_is_made_once(console: Console, suite: ConsoleSuite) -> None:
    page, lost = console.page, []
    await console.use_tenant("lost")

    async def lose(route: Route) -> None:
        if route.request.method != "POST" or lost:
            await route.continue_()
            return
        lost.append((await (await route.fetch()).json())["name"])
        await route.abort("connectionreset")

    await page.route("**/v1/tasks", lose)
    console.cuts = True
    await console.open("#/submit")
    await page.get_by_label("What do you want to know, or have done?").fill("What is a tide?")
    await console.button("Submit").click()
    await expect(page.locator(".task-head h1")).to_have_text("What is a tide?")
    tasks = (await asyncio.to_thread(suite.call, "GET", "tasks", "lost"))["tasks"]
    assert [task["name"] for task in tasks] == lost
    assert page.url.endswith(lost[0])


async def test_the_budget_of_the_tenant_is_set_and_what_it_used_is_listed(
    console: Console, suite: ConsoleSuite
) -> None:
    page, tenant = console.page, "budgeted"
    await console.use_tenant(tenant)
    task = suite.submit(tenant, plan={"steps": [{"name": "spend", "agent": "spender"}]})
    suite.wait(task, "succeeded", tenant=tenant)
    await console.open()
    await page.get_by_role("link", name="Usage").click()
    await expect(page.get_by_role("region", name="Usage").locator("tbody tr")).to_contain_text("spender")
    await page.get_by_label("Most on a day").fill("1.5")
    await console.button("Set the budget").click()
    await expect(page.get_by_label("Most on a day")).to_have_value("1.5")
    budget = await asyncio.to_thread(suite.call, "GET", "tenant/budget", tenant)
    assert (budget["max_day_microusd"], budget["spent_day_microusd"]) == (1_500_000, 4_200)
