"""`Context.chat` and `Context.add_step`, as an agent in memory sees them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from waybill import Context, Message, Tool, ToolCall, agent
from waybill.core.budget import TaskPolicy
from waybill.core.task import Usage
from waybill.errors import AgentError, Permanent
from waybill.testing import ScriptedModel, run_agent


class Verdict(BaseModel):
    good: bool
    why: str = ""


@agent(uses_model=True)
async def judge(ctx: Context, text: str, stream: bool = False) -> Any:
    """Ask for a verdict, or for a text."""
    reply = await ctx.chat(text, system="Judge.", output=None if stream else Verdict, stream=stream)
    return reply.text if stream else reply.value


@agent(uses_model=True)
def judge_in_process(ctx: Context, text: str) -> Verdict:
    """The same without a loop."""
    return ctx.chat(text, system="Judge.", output=Verdict).value


@pytest.mark.parametrize("definition", [judge, judge_in_process])
async def test_given_an_answer_that_fits_when_asked_then_its_value_is_of_the_type(definition: Any) -> None:
    model = ScriptedModel([{"good": True, "why": "it is"}])

    run = await run_agent(definition, {"text": "is it"}, model=model)

    assert run.value == Verdict(good=True, why="it is")
    assert run.usage == Usage(input_tokens=3, output_tokens=2)
    assert model.requests[0].messages == (Message("system", "Judge."), Message("user", "is it"))


@pytest.mark.parametrize("misfits", [0, 1, 2])
@pytest.mark.parametrize("bad", ["no JSON", {"good": "maybe"}, [1], "```json\n{}\n```"])
async def test_given_answers_that_do_not_fit_when_asked_then_they_go_back_and_all_are_counted(
    misfits: int, bad: Any
) -> None:
    model = ScriptedModel([bad] * misfits + ['```json\n{"good": false}\n```'])

    run = await run_agent(judge, {"text": "is it"}, model=model)

    assert run.value == Verdict(good=False)
    assert len(model.requests) == misfits + 1
    assert run.usage.input_tokens == sum(
        len(message.content.split()) for request in model.requests for message in request.messages
    )


async def test_given_answers_that_never_fit_when_asked_then_the_attempt_fails_and_not_the_next_step() -> None:
    model = ScriptedModel(["no"] * 3)

    with pytest.raises(AgentError) as failed:
        await run_agent(judge, {"text": "is it"}, model=model)

    assert (failed.value.reason, len(model.requests)) == ("OUTPUT_INVALID", 3)


async def test_given_no_model_when_asked_then_the_error_says_what_to_set() -> None:
    with pytest.raises(Permanent, match="WAYBILL_LLM_BASE_URL") as failed:
        await run_agent(judge, {"text": "is it"})

    assert failed.value.reason == "MODEL_MISSING"


async def test_given_a_stream_when_asked_then_watchers_get_the_text() -> None:
    run = await run_agent(judge, {"text": "x", "stream": True}, model=ScriptedModel(["two words"]))

    assert (run.value, run.text) == ("two words", "two words")


async def test_given_tools_when_the_model_calls_one_then_the_conversation_goes_on() -> None:
    tool = Tool("look", "Look something up", {"type": "object"})

    @agent
    async def looker(ctx: Context) -> str:
        """Look something up."""
        said = [Message("user", "where")]
        reply = await ctx.chat(said, tools=[tool])
        said += [reply.message, Message("tool", "here", tool_call_id=reply.tool_calls[0].id)]
        return str((await ctx.chat(said, tools=[tool])).text)

    model = ScriptedModel([[ToolCall("1", "look", "{}")], "found"])

    run = await run_agent(looker, {}, model=model)

    assert run.value == "found"
    assert [message.role for message in model.requests[1].messages] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [Message("robot", "x")]}, "role"),  # type: ignore[arg-type]
        ({"messages": [Message("tool", "x")]}, "tool_call_id"),
        ({"messages": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"messages": "x", "temperature": float("nan")}, "temperature"),
        ({"messages": "x", "tools": [Tool("a", "", {}), Tool("a", "", {})]}, "tools"),
        ({"messages": "x", "output": {"type": "nothing"}}, "output"),
        ({"messages": "x", "output": object()}, "output"),
        ({"messages": "x", "output": Verdict, "stream": True}, "stream"),
    ],
)
async def test_given_wrong_arguments_when_asked_then_the_error_names_them(options: dict[str, Any], field: str) -> None:
    @agent
    async def asker(ctx: Context) -> None:
        """Ask."""
        await ctx.chat(**options)

    with pytest.raises(Permanent, match=field) as failed:
        await run_agent(asker, {}, model=ScriptedModel(["x"]))

    assert failed.value.reason == "CHAT_INVALID"


async def test_given_a_policy_when_asked_then_the_agent_sees_it() -> None:
    @agent(isolation="thread")
    def careful(ctx: Context) -> bool:
        """Look at what is allowed."""
        return asyncio.run(ctx.policy()).allows_tool("crm", "delete")

    assert (await run_agent(careful, {}, policy=TaskPolicy(allowed_tools=("crm/read",)))).value is False


async def test_given_steps_that_an_agent_adds_when_it_has_run_then_they_are_known() -> None:
    @agent
    async def mapper(ctx: Context, items: list[str]) -> None:
        """One step for each item."""
        for position, item in enumerate(items):
            ctx.add_step(f"item-{position}", "echo", {"value": item}, limits=["crm"])
        ctx.add_step("join", "writer", {"all": "${item-0}"}, result=True)

    run = await run_agent(mapper, {"items": ["a", "b"]})

    assert [step.name for step in run.added] == ["item-0", "item-1", "join"]
    assert run.added[1].input == b'{"value":"b"}'


@pytest.mark.parametrize(
    ("arguments", "options", "field"),
    [
        (("Bad", "echo", {}), {}, "name"),
        (("task", "echo", {}), {}, "name"),
        (("a", "E", {}), {}, "agent"),
        (("a", "echo", {"x": object()}), {}, "input"),
        (("a", "echo", {"x": float("nan")}), {}, "input"),
        (("a", "echo", {"x": "y" * 2_000_000}), {}, "input"),
        (("a", "echo", {}), {"limits": ["a b"]}, "limits"),
        (("a", "echo", {}), {"after": "step"}, "after"),
        (("a", "echo", {}), {"run_timeout_ms": 0}, "run_timeout_ms"),
        (("twice", "echo", {}), {}, "twice"),
        (("a", "echo", {}), {"result": True}, "result"),
    ],
)
async def test_given_a_step_that_can_never_be_added_when_added_then_the_error_names_why(
    arguments: Any, options: dict[str, Any], field: str
) -> None:
    @agent
    async def adder(ctx: Context) -> None:
        """Add two steps."""
        ctx.add_step("twice", "echo", {}, result=True)
        ctx.add_step(*arguments, **options)

    with pytest.raises(Permanent, match=field) as failed:
        await run_agent(adder, {})

    assert failed.value.reason == "PATCH_INVALID"
