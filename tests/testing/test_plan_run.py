"""Running whole plans in memory."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import plan_agents
import pytest

from waybill import Context, PlanBuilder, TaskPolicy, agent
from waybill.core.patch import Patch
from waybill.core.plan import Plan, PlanStep
from waybill.core.task import Document, EventType, StepState, TaskState, Usage
from waybill.errors import InvalidArgument, InvalidPlan
from waybill.testing import (
    Asked,
    MemoryEffects,
    PlanFailed,
    PlanRun,
    PlanStuck,
    Revision,
    ScriptedModel,
    plan_attempt,
    run_plan,
)

HOUR_MS = 3_600_000


def step(name: str, agent: str = "echo", input: Any = None, **options: Any) -> dict[str, Any]:
    return {"name": name, "agent": agent, "input": input or {}, **options}


def asking(name: str, **question: Any) -> dict[str, Any]:
    return {"name": name, "question": {"prompt": "Go on?", **question}}


async def run(*steps: dict[str, Any], on_failure: str = "stop", **options: Any) -> PlanRun:
    plan = {"steps": steps, "failure_policy": on_failure}
    return await run_plan(plan, [plan_agents], **options)


def states(ran: PlanRun) -> dict[str, str]:
    return {name: step.state.value for name, step in ran.steps.items()}


async def test_references_pass_what_earlier_steps_returned() -> None:
    ran = await run(
        step("a", input={"value": {"n": "${task.input.n}"}}),
        step("b", "plain-echo", {"value": "n is ${a.n} of ${task.goal}"}),
        step("c", input={"value": ["${a.n}", "${b}"]}),
        goal="all",
        input={"n": 7},
    )
    assert ran.output == [7, "n is 7 of all"]
    assert [event.state for event in ran.events if event.type is EventType.TASK_ACCEPTED] == [TaskState.PLANNING]


async def test_a_plan_with_several_ends_returns_all_of_them() -> None:
    assert (await run(step("a", input={"value": 1}), step("b", input={"value": 2}))).output == {"a": 1, "b": 2}


async def test_a_plan_may_be_made_of_objects_and_agents_named_one_by_one() -> None:
    ran = await run_plan(Plan((PlanStep("a", "echo", b'{"value":5}'),)), [plan_agents.echo])
    assert ran.output == 5


async def test_a_plan_may_come_from_the_builder_or_from_a_file(tmp_path: Path) -> None:
    plan = PlanBuilder()
    first = plan.step("a", plan_agents.echo, value=5)
    plan.step("b", plan_agents.echo, value=first)
    file = tmp_path / "plan.yaml"
    file.write_text("steps:\n  - {name: a, agent: echo, input: {value: 5}}\n  - {name: b, agent: ecco}\n")
    assert (await run_plan(plan, [plan_agents])).output == 5
    with pytest.raises(InvalidPlan, match=r"plan\.yaml:3: steps\[1\]\.agent"):
        await run_plan(file, [plan_agents])
    file.write_text(file.read_text().replace("ecco", "echo"))
    assert (await run_plan(str(file), [plan_agents])).output == {"a": 5, "b": None}


async def test_given_failures_when_retried_then_the_backoffs_take_no_time_and_the_spending_counts() -> None:
    began = time.monotonic()
    retry = {"max_attempts": 3, "initial_backoff_ms": HOUR_MS, "multiplier": 2.0, "max_backoff_ms": 8 * HOUR_MS}
    ran = await run(step("a", "flaky", {"failures": 2, "value": 1}, retry=retry))
    assert ran.output == 1
    assert ran.steps["a"].attempts == 3
    assert ran.elapsed_ms >= 3 * HOUR_MS > 1000 * (time.monotonic() - began)
    assert ran.usage == ran.steps["a"].usage == Usage(input_tokens=30, cost_microusd=15)
    assert ran.text == {"a": "try 3 "}
    delays = [event.delay_ms for event in ran.events if event.type is EventType.STEP_RETRIED]
    assert delays == [HOUR_MS, 2 * HOUR_MS]


async def test_given_a_final_reason_then_no_other_attempt_is_made() -> None:
    retry = {"final_reasons": ["GONE"]}
    ran = await run(step("a", "flaky", {"failures": 1, "reason": "GONE"}, retry=retry))
    assert (ran.state, ran.steps["a"].attempts) == (TaskState.FAILED, 1)


async def test_given_a_failure_when_the_plan_stops_then_the_rest_is_cancelled_and_the_output_tells_why() -> None:
    ran = await run(step("a", "hopeless"), step("b", "forever"), step("c", after=["b"]))
    assert states(ran) == {"a": "failed", "b": "cancelled", "c": "cancelled"}
    with pytest.raises(PlanFailed, match="a: failed, AGENT_PERMANENT: this cannot work"):
        assert ran.output == 1
    assert "b: cancelled" in repr(ran)


async def test_what_a_stopped_agent_returns_all_the_same_counts() -> None:
    @agent
    async def tidy() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "tidied up"
        return ""

    plan = {"steps": [step("a", "hopeless"), step("b", "tidy"), step("c", "echo", after=["b"])]}
    ran = await run_plan(plan, [plan_agents, tidy])
    assert states(ran) == {"a": "failed", "b": "succeeded", "c": "cancelled"}
    assert ran.steps["b"].output == "tidied up"


@pytest.mark.parametrize("isolation", ["async", "thread"])
async def test_an_agent_that_ignores_its_end_does_not_hold_the_plan(
    monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    monkeypatch.setattr(plan_attempt, "STOP_GRACE_SECONDS", 0.05)
    leave = threading.Event()

    @agent(name="stubborn")
    async def on_the_loop(ctx: Context) -> None:
        while not leave.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        ctx.progress("too late")

    @agent(name="stubborn")
    def in_a_thread(ctx: Context) -> None:
        leave.wait(30)
        ctx.progress("too late")

    plan = {"steps": [step("a", "hopeless"), step("b", "stubborn")]}
    ran = await run_plan(plan, [plan_agents, on_the_loop if isolation == "async" else in_a_thread])
    leave.set()
    await asyncio.sleep(0.05)
    assert states(ran) == {"a": "failed", "b": "cancelled"}
    assert not [event for event in ran.events if event.message == "too late"]


async def test_given_a_failure_when_the_plan_goes_on_then_what_depends_on_it_is_skipped() -> None:
    ran = await run(
        step("a", "hopeless"), step("b", after=["a"]), step("c", after=["b"]), step("d"), on_failure="continue"
    )
    assert states(ran) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "succeeded"}
    assert ran.state is TaskState.FAILED
    assert ran.failure == ran.steps["a"].failure


async def test_conditions_skip_steps_and_say_why() -> None:
    ran = await run(
        step("a", input={"value": {"ok": False}}),
        step("b", when=["${a.ok}"]),
        step("c", after=["b"]),
        step("d", input={"value": "${b}"}, allow_skipped=True),
    )
    assert states(ran) == {"a": "succeeded", "b": "skipped", "c": "skipped", "d": "succeeded"}
    assert "when[0]" in ran.steps["b"].note
    assert ran.output == {"c": None, "d": None}


async def test_questions_get_the_answers_of_the_test() -> None:
    ran = await run(asking("approve"), step("a", input={"value": "${approve}"}), answers={"approve": True})
    assert ran.output is True


async def test_an_answer_may_lead_to_the_next_question() -> None:
    ran = await run(asking("first"), {**asking("second"), "after": ["first"]}, answers={"first": 1, "second": 2})
    assert ran.output == 2


@pytest.mark.parametrize("is_async", [False, True])
async def test_answers_may_be_functions_of_what_is_asked(is_async: bool) -> None:
    seen: list[Asked] = []

    def answer(asked: Asked) -> str:
        seen.append(asked)
        return "yes"

    async def later(asked: Asked) -> str:
        return answer(asked)

    plan = (step("a", input={"value": 3}), {**asking("q"), "input": {"found": "${a}"}})
    ran = await run(*plan, answers=later if is_async else answer)
    assert ran.output == "yes"
    assert seen == [Asked("q", "Go on?", {"found": 3})]


async def test_an_answer_that_does_not_fit_its_question_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="answer"):
        await run(asking("q", answer_schema={"type": "boolean"}), answers={"q": "yes"})


async def test_given_no_answer_then_the_test_is_told_which_one_is_missing() -> None:
    with pytest.raises(PlanStuck, match=r"step q waits for an answer to 'Go on\?'.*answers=\{'q': \.\.\.\}"):
        await run(asking("q"), step("a"))


async def test_an_answer_to_a_step_that_asks_nothing_is_an_error_of_the_test() -> None:
    with pytest.raises(ValueError, match="did you mean 'approve'"):
        await run(asking("approve"), answers={"aprove": True})


async def test_given_a_timeout_and_no_answer_then_the_default_counts_or_the_step_fails() -> None:
    ran = await run(asking("q", timeout_ms=HOUR_MS, default_answer="later"))
    assert ran.output == "later"
    ran = await run(asking("q", timeout_ms=HOUR_MS))
    assert ran.failure is not None
    assert ran.failure.reason == "ANSWER_TIMEOUT"


async def test_given_a_deadline_when_a_person_never_answers_then_the_task_fails() -> None:
    ran = await run(asking("q"), deadline_ms=HOUR_MS)
    assert (ran.state, ran.failure and ran.failure.reason) == (TaskState.FAILED, "DEADLINE_EXCEEDED")
    assert states(ran) == {"q": "cancelled"}


async def test_an_agent_that_runs_too_long_is_stopped_and_tried_again() -> None:
    ran = await run(step("a", "forever", run_timeout_ms=30, retry={"max_attempts": 2}))
    assert (ran.steps["a"].attempts, ran.steps["a"].failure and ran.steps["a"].failure.reason) == (2, "TIMEOUT")


async def test_an_agent_adds_steps_whose_result_takes_the_place_of_its_own() -> None:
    ran = await run(step("m", "mapper", {"items": [1, 2]}), step("after", input={"value": "${m}"}))
    assert ran.output == [1, 2]
    assert list(ran.steps) == ["m", "after", "m-1", "m-2", "m-all"]
    assert ran.revision == 2


async def test_given_a_policy_when_an_agent_adds_too_much_then_its_step_fails() -> None:
    ran = await run(step("m", "mapper", {"items": [1, 2]}), policy=TaskPolicy(max_added_steps=2))
    assert ran.steps["m"].failure is not None
    assert ran.steps["m"].failure.reason == "PATCH_INVALID"


async def test_a_plan_that_the_policy_does_not_allow_is_refused() -> None:
    with pytest.raises(InvalidPlan, match="policy does not allow agent echo"):
        await run(step("a"), policy=TaskPolicy(allowed_agents=("mapper",)))


async def test_a_plan_that_cannot_run_is_refused_with_all_that_is_wrong() -> None:
    with pytest.raises(InvalidPlan) as refused:
        await run(step("a", "ecco"), step("b", input={"valu": 1}))
    assert [violation.field for violation in refused.value.violations] == ["plan.steps[0].agent", "plan.steps[1].input"]


@pytest.mark.parametrize("as_json", [False, True])
async def test_given_a_failure_when_the_plan_is_revised_then_the_substitute_takes_its_place(as_json: bool) -> None:
    asked: list[Revision] = []

    def replan(revision: Revision) -> Any:
        asked.append(revision)
        if as_json:
            return {"steps": [step("b", input={"value": 2})], "substitutes": {"a": "b"}}
        return Patch((PlanStep("b", "echo", b'{"value":2}'),), substitutes={"a": "b"})

    ran = await run(step("a", "hopeless"), step("c", input={"value": "${a}"}), on_failure="replan", replan=replan)
    assert ran.output == 2
    assert states(ran) == {"a": "failed", "c": "succeeded", "b": "succeeded"}
    assert (asked[0].step, asked[0].failure.reason) == ("a", "AGENT_PERMANENT")
    assert asked[0].steps["c"].state is StepState.PENDING


async def test_given_no_revision_then_the_task_fails_and_says_so() -> None:
    for options in ({}, {"replan": lambda _: None}):
        ran = await run(step("a", "undecided"), **options)
        assert ran.state is TaskState.FAILED
        assert ran.failure is not None
        assert "the plan was not revised" in ran.failure.message


async def test_given_patches_that_do_not_fit_then_three_are_asked_for() -> None:
    asked: list[Revision] = []

    def replan(revision: Revision) -> Any:
        asked.append(revision)
        return {"steps": [step("b", "nobody")]}

    ran = await run(step("a", "undecided"), replan=replan)
    assert len(asked) == 3
    assert ran.failure is not None
    assert "no agent is named 'nobody'" in ran.failure.message


async def test_effects_are_kept_over_the_attempts_of_a_step_and_crashes_count_as_deaths() -> None:
    done: list[str] = []

    @agent
    async def pay(ctx: Context) -> str:
        return str(await ctx.once("pay", lambda: done.append("paid") or "receipt", reconcile=lambda _: "found"))

    effects = MemoryEffects()
    effects.crash("pay")
    ran = await run_plan({"steps": [step("p", "pay")]}, [pay], effects=effects)
    assert (ran.output, ran.steps["p"].attempts, done) == ("found", 2, ["paid"])


async def test_agents_ask_their_scripted_models() -> None:
    @agent
    async def asker(ctx: Context, question: str) -> str:
        return str((await ctx.chat(question, stream=True)).text)

    plan = {"steps": [step("a", "asker", {"question": "one two"}), step("b", "asker", {"question": "${a}"})]}
    ran = await run_plan(plan, [asker], model=ScriptedModel(["first", "second answer"]))
    assert ran.output == "second answer"
    assert ran.text == {"a": "first", "b": "second answer"}
    assert ran.usage == Usage(input_tokens=3, output_tokens=3)
    assert [event.usage for event in ran.events if event.type is EventType.CALL_ENDED] == [Usage(2, 1), Usage(1, 2)]
    own = await run_plan({"steps": plan["steps"][:1]}, [asker], model={"asker": ScriptedModel(["its own"])})
    assert own.output == "its own"


async def test_agents_see_the_documents_of_the_task() -> None:
    @agent
    async def reader(ctx: Context) -> list[str]:
        return [document.name for document in await ctx.documents()]

    ran = await run_plan({"steps": [step("a", "reader")]}, [reader], documents=[Document("n.md", "text/plain", b"")])
    assert ran.output == ["n.md"]


async def test_steps_run_side_by_side_as_far_as_there_are_slots() -> None:
    together = most = 0

    @agent
    async def counted() -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.001)
        together -= 1

    plan = {"steps": [step(f"s{number}", "counted") for number in range(12)]}
    await run_plan(plan, [counted], slots=4)
    assert most == 4


async def test_a_wrong_step_name_tells_the_right_one() -> None:
    ran = await run(step("draft"))
    with pytest.raises(KeyError, match="did you mean 'draft'"):
        assert ran.steps["draf"]
