"""The agent `tools`: what a step, its policy and the operator allow it, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from tools_bench import Bench, calls, told
from waybill_worker.agents.tools import tools

from waybill.core.budget import TaskPolicy
from waybill.errors import AgentError, Permanent
from waybill.testing import Crashed, MemoryContext, MemoryEffects, ScriptedModel, run_agent


@pytest.mark.parametrize(
    ("input", "reason"),
    [
        ({"servers": ["other"]}, "TOOL_SERVER_UNKNOWN"),
        ({"tools": ["shell/run"]}, "TOOL_UNKNOWN"),
        ({"tools": ["search"]}, "TOOL_UNKNOWN"),
        ({"tools": ["mail/pray"]}, "TOOL_UNKNOWN"),
    ],
)
async def test_given_names_that_nobody_configured_when_run_then_the_step_fails_for_good(
    bench: Bench, input: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Permanent) as caught:
        await bench.run(ScriptedModel([]), input=input)

    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "input",
    [
        {"command": "sh", "args": ["-c", "id"]},
        {"servers": [{"command": "sh"}]},
        {"servers": []},
        {"max_turns": 51},
        {"max_turns": 0},
    ],
)
async def test_given_a_step_that_brings_what_it_may_not_when_run_then_its_input_does_not_fit(
    bench: Bench, input: dict[str, Any]
) -> None:
    with pytest.raises(Permanent) as caught:
        await bench.run(ScriptedModel([]), input=input)

    assert caught.value.reason == "INPUT_INVALID"


async def test_given_no_model_when_run_then_no_server_is_started(bench: Bench) -> None:
    context = MemoryContext(allowed=TaskPolicy())
    with pytest.raises(AgentError) as caught:
        await run_agent(tools, {"goal": "g", "servers": ["mail"]}, context=context)

    assert (caught.value.reason, context.reported) == ("MODEL_MISSING", [])


async def test_given_a_file_that_cannot_be_used_when_run_then_the_caller_learns_no_more_than_that(
    bench: Bench,
) -> None:
    bench.config.write_text('{"mcpServers": {"mail": {"command": "${NO_SUCH_VARIABLE}"}}}')

    with pytest.raises(Permanent) as caught:
        await bench.run(ScriptedModel([]))

    assert caught.value.reason == "TOOL_CONFIG_INVALID"
    assert "NO_SUCH" not in caught.value.message
    assert str(bench.config) not in caught.value.message


async def test_given_lists_of_step_and_policy_when_run_then_the_model_sees_and_calls_what_both_allow(
    bench: Bench,
) -> None:
    model = ScriptedModel([calls(("pay", {"amount": 1}), ("send", {"to": "a"}), ("search", {"query": "q"})), "done"])
    policy = TaskPolicy(allowed_tools=("mail/search", "mail/pay", "shell/*"))

    run = await bench.run(model, policy, input={"tools": ["mail/search", "mail/send"]})

    assert [tool.name for tool in model.requests[0].tools] == ["mail__search"]
    assert [(use.failed, use.refused) for use in run.value.calls] == [(True, True), (True, True), (False, False)]
    assert bench.done() == []


async def test_given_a_policy_that_leaves_nothing_when_run_then_the_step_fails_for_good(bench: Bench) -> None:
    with pytest.raises(Permanent) as caught:
        await bench.run(ScriptedModel([]), TaskPolicy(allowed_tools=("shell/run",)))

    assert caught.value.reason == "TOOLS_NONE"


async def test_given_a_list_recorded_under_a_wider_policy_when_repeated_under_a_narrower_one_then_that_counts(
    bench: Bench,
) -> None:
    effects = MemoryEffects()
    effects.crash("turn:1", "before")
    with pytest.raises(Crashed):
        await bench.run(ScriptedModel([]), effects=effects)
    model = ScriptedModel([calls(("pay", {"amount": 1})), "refused"])

    run = await bench.run(model, TaskPolicy(allowed_tools=("mail/search",)), effects=effects, attempt=2)

    assert run.value.calls[0].refused
    assert bench.done() == []


ALLOWED = TaskPolicy(allowed_recipients=("ann@example.org", "bob@example.org"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"to": "ann@example.org"},
        {"to": ["ann@example.org", ["bob@example.org"]]},
        {"to": [], "cc": "bob@example.org", "body": "mallory@evil.example"},
    ],
)
async def test_given_recipients_that_are_allowed_when_sent_to_then_it_is_sent(bench: Bench, arguments: Any) -> None:
    bench.configure(recipients={"send": ["to", "cc"]})
    run = await bench.run(ScriptedModel([calls(("send", arguments)), "sent"]), ALLOWED)

    assert [name for name, _ in bench.done()] == ["send"]
    assert not run.value.calls[0].refused


@pytest.mark.parametrize(
    "arguments",
    [
        {"to": "mallory@evil.example"},
        {"to": "ann@example.org,mallory@evil.example"},
        {"to": "Ann <ann@example.org>"},
        {"to": " ann@example.org"},
        {"to": "ANN@example.org"},
        {"to": ["ann@example.org", ["mallory@evil.example"]]},
        {"to": "ann@example.org", "cc": ["mallory@evil.example"]},
        {"to": "ann@example.org", "bcc": "mallory@evil.example"},
        {"to": "ann@example.org", "To": "mallory@evil.example"},
    ],
)
async def test_given_recipients_that_are_not_allowed_when_sent_to_then_nothing_is_sent_and_all_are_told(
    bench: Bench, arguments: Any
) -> None:
    bench.configure(recipients={"send": ["to", "cc"]})
    model = ScriptedModel([calls(("send", arguments)), "refused"])

    run = await bench.run(model, ALLOWED)

    assert bench.done() == []
    assert run.value.calls[0].refused
    assert "refused, and not called" in told(model)[0]
    assert any(item.message.startswith("refused mail/send: ") for item in run.progress)


async def test_given_a_tool_without_the_argument_that_is_declared_when_listed_then_it_is_left_out(
    bench: Bench,
) -> None:
    bench.configure(recipients={"send": ["recipients"]})
    model = ScriptedModel(["nothing to do"])

    run = await bench.run(model)

    assert "mail__send" not in [tool.name for tool in model.requests[0].tools]
    assert any("left out mail/send" in item.message for item in run.progress)


async def test_given_recipients_of_a_tool_that_the_server_lacks_when_they_are_limited_then_no_tool_is_called(
    bench: Bench,
) -> None:
    bench.configure(recipients={"sned": ["to"]})
    with pytest.raises(Permanent) as caught:
        await bench.run(ScriptedModel([]), ALLOWED)
    assert caught.value.reason == "TOOL_CONFIG_INVALID"

    run = await bench.run(ScriptedModel(["fine"]))
    assert any("left out mail/sned" in item.message for item in run.progress)
