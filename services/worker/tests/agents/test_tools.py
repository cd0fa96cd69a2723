"""The agent `tools` in memory, with a scripted model and a real MCP server: its loop, its bounds, its doubts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tools_bench import Bench, calls, told
from waybill_worker.agents import tools_loop
from waybill_worker.agents.tools import tools

from waybill import ToolCall
from waybill.chat import ChatRequest
from waybill.core.task import EffectState
from waybill.errors import EffectUnknown, Permanent
from waybill.ledger.records import Effect
from waybill.testing import Crashed, MemoryEffects, ScriptedModel


async def test_given_a_model_that_calls_tools_when_it_answers_then_all_it_did_is_told(bench: Bench) -> None:
    model = ScriptedModel([calls(("search", {"query": "bill"}), ("pay", {"amount": 5})), "It is paid."])

    run = await bench.run(model)

    assert (run.value.text, run.value.finish_reason, run.value.turns) == ("It is paid.", "answered", 2)
    assert [(use.server, use.tool, use.arguments, use.failed) for use in run.value.calls] == [
        ("mail", "search", {"query": "bill"}, False),
        ("mail", "pay", {"amount": 5}, False),
    ]
    assert "found: bill" in told(model)[0]
    assert bench.done() == [("pay", 5)]
    assert run.text == "It is paid."


async def test_given_errors_of_all_kinds_when_tools_are_called_then_the_model_learns_them_and_goes_on(
    bench: Bench,
) -> None:
    model = ScriptedModel(
        [
            calls(
                ("fail", {}), ("reject", {}), ("pay", {"amount": "five"}), ("pay", [1]), ("pray", {}), ("shaped", {})
            ),
            [ToolCall("x", "mail__pay", "{not json")],
            [ToolCall("x", "mail__pay", '{"amount": 1, "wait": "\\ud800"}')],
            [ToolCall("", "mail__search", '{"query": "1"}'), ToolCall("", "mail__search", '{"query": "2"}')],
            "done",
        ]
    )

    run = await bench.run(model)

    locked, mood, misfit, no_object, unknown, shaped, no_json, no_unicode, first, second = told(model)
    assert "the account is locked" in locked
    assert "failed: the server is in a bad mood" in mood
    assert "do not fit: amount: must be of type integer, is string" in misfit
    assert "not a JSON object" in no_object
    assert "no tool 'mail__pray'" in unknown
    assert "output schema" in shaped
    assert "not JSON" in no_json
    assert "not Unicode" in no_unicode
    assert ("found: 1" in first, "found: 2" in second) == (True, True)
    ids = [message.tool_call_id for message in model.requests[-1].messages if message.role == "tool"]
    assert len(set(ids[-2:])) == 2
    assert [use.failed for use in run.value.calls] == [True] * 8 + [False] * 2
    assert bench.done() == [("shaped", None)]


async def test_given_a_schema_that_cannot_be_checked_in_bounded_time_when_called_then_the_server_has_to(
    bench: Bench,
) -> None:
    model = ScriptedModel([calls(("lookahead", {"word": "a" * 60 + "!"})), "done"])

    run = await bench.run(model)

    assert [use.failed for use in run.value.calls] == [False]


async def test_given_results_that_are_huge_or_no_text_when_told_then_they_are_cut_and_described(bench: Bench) -> None:
    model = ScriptedModel([calls(("huge", {"chars": 100_000}), ("picture", {})), "seen"])

    await bench.run(model)

    huge, picture = told(model)
    assert "[cut: 67,232 more characters]" in huge
    assert "[image of type image/png, 3,000 bytes, not shown]\n[link to https://example.org/report (report)]" in picture
    assert "a picture" in picture


async def test_given_a_secret_that_a_server_repeats_when_told_then_nobody_sees_it(bench: Bench) -> None:
    model = ScriptedModel([calls(("search", {"query": "Bearer s3cret-token"})), "seen"])

    run = await bench.run(model)

    assert "found: ***" in told(model)[0]
    assert "s3cret-token" not in str(run.progress)


async def test_given_a_repeated_attempt_when_the_earlier_one_crashed_then_it_goes_the_same_way_and_pays_once(
    bench: Bench,
) -> None:
    effects = MemoryEffects()
    turns = [calls(("pay", {"amount": 1})), calls(("search", {"query": "a"}), ("pay", {"amount": 2})), "paid"]
    effects.crash("turn:3", "before")
    with pytest.raises(Crashed):
        await bench.run(ScriptedModel(turns), effects=effects)
    other = ScriptedModel([calls(("pay", {"amount": 99})), "paid twice"])

    run = await bench.run(ScriptedModel(["paid"]), effects=effects, attempt=2)
    again = await bench.run(other, effects=effects, attempt=3)

    assert (run.value.text, again.value.text, other.requests) == ("paid", "paid", [])
    assert run.value.calls == again.value.calls
    assert again.text == "paid"
    assert bench.done() == [("pay", 1), ("pay", 2)]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_given_a_crash_around_a_turn_of_the_model_when_repeated_then_only_the_model_is_asked_again(
    bench: Bench, when: Any
) -> None:
    effects = MemoryEffects()
    effects.crash("turn:2", when)
    with pytest.raises(Crashed):
        await bench.run(ScriptedModel([calls(("pay", {"amount": 1})), "paid"]), effects=effects)

    run = await bench.run(ScriptedModel(["so it is"]), effects=effects, attempt=2)

    assert run.value.text == "so it is"
    assert bench.done() == [("pay", 1)]


def in_doubt(effects: MemoryEffects) -> str:
    """The key of the one call that the earlier attempt has begun."""
    (key,) = [key for _, _, key in effects._effects if key.startswith("call:")]
    return key


async def begun(bench: Bench, tool: str, arguments: Any) -> MemoryEffects:
    """What is known after an attempt that died in the middle of a call."""
    effects = MemoryEffects()
    turn = calls((tool, arguments))
    scout = MemoryEffects()
    await bench.run(ScriptedModel([turn, "done"]), effects=scout)
    effects.crash(in_doubt(scout), "after")
    with pytest.raises(Crashed):
        await bench.run(ScriptedModel([turn]), effects=effects)
    bench.effects.unlink(missing_ok=True)
    return effects


async def test_given_a_crash_in_a_call_when_repeated_then_it_is_for_a_person_and_not_made_again(bench: Bench) -> None:
    effects = await begun(bench, "pay", {"amount": 1})

    with pytest.raises(EffectUnknown, match="mail__pay"):
        await bench.run(ScriptedModel([]), effects=effects, attempt=2)

    assert bench.done() == []


@pytest.mark.parametrize(("trusted", "done"), [(True, [("put", "k")]), (False, [])])
async def test_given_a_crash_in_a_call_that_its_server_calls_harmless_when_repeated_then_the_operator_decides(
    bench: Bench, trusted: bool, done: list[Any]
) -> None:
    bench.configure(trust_annotations=trusted)
    effects = await begun(bench, "put", {"key": "k"})

    if trusted:
        run = await bench.run(ScriptedModel(["done"]), effects=effects, attempt=2)
        assert run.value.text == "done"
    else:
        with pytest.raises(EffectUnknown):
            await bench.run(ScriptedModel([]), effects=effects, attempt=2)
    assert bench.done() == done


@pytest.mark.parametrize(
    ("decided", "word"),
    [
        (b'"sent by hand"', "\nsent by hand\n"),
        (b"null", "\nnull\n"),
        (b'{"receipt": 7}', '\n{"receipt": 7}\n'),
        (b'{"text": "it was sent"}', "\nit was sent\n"),
    ],
)
async def test_given_a_person_who_decided_on_a_call_when_repeated_then_the_model_gets_their_word(
    bench: Bench, decided: bytes, word: str
) -> None:
    effects = await begun(bench, "pay", {"amount": 1})
    place = ("task-1", "step", in_doubt(effects))
    effects._effects[place] = Effect(EffectState.DONE, 1, decided), "n"
    model = ScriptedModel(["done"])

    run = await bench.run(model, effects=effects, attempt=2)

    assert word in told(model)[0]
    assert run.value.calls[0].failed is False
    assert bench.done() == []


@pytest.mark.parametrize("trusted", [False, True])
async def test_given_a_tool_that_does_not_answer_when_its_time_is_over_then_only_a_harmless_one_is_given_up(
    bench: Bench, trusted: bool
) -> None:
    bench.configure(trust_annotations=trusted, timeout_seconds=1)
    model = ScriptedModel([calls(("put", {"key": "k", "wait": "/no/such/file"})), "gave up"])

    if trusted:
        assert (await bench.run(model)).value.text == "gave up"
        assert "may be made again" in told(model)[0]
    else:
        with pytest.raises(EffectUnknown, match="mail/put: the server did not answer"):
            await bench.run(model)
    assert bench.done() == [("put", "k")]


async def test_given_a_form_of_the_answer_when_the_model_misses_it_then_it_is_told_and_tries_again(
    bench: Bench,
) -> None:
    form = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
    model = ScriptedModel([calls(("search", {"query": "a"})), "about five", {"total": "five"}, {"total": 5}])

    run = await bench.run(model, input={"output": form})

    assert run.value.value == {"total": 5}
    assert run.output["value"] == {"total": 5}
    assert run.value.turns == 2


async def test_given_a_model_that_never_ends_when_its_turns_are_over_then_it_is_asked_for_an_answer(
    bench: Bench,
) -> None:
    def script(request: ChatRequest) -> Any:
        return calls(("search", {"query": "more"})) if request.tools else "what I know"

    model = ScriptedModel(script)

    run = await bench.run(model, input={"max_turns": 3})

    assert (run.value.text, run.value.finish_reason, len(run.value.calls)) == ("what I know", "max_turns", 3)
    assert "all your turns" in model.requests[-1].messages[-1].content


async def test_given_a_model_that_will_not_answer_when_its_turns_are_over_then_the_step_fails(bench: Bench) -> None:
    model = ScriptedModel(lambda _: calls(("search", {"query": "more"})))

    effects = MemoryEffects()
    with pytest.raises(Permanent, match="at most 2 turns") as caught:
        await bench.run(model, effects=effects, input={"max_turns": 2})
    assert caught.value.reason == "TOOL_LOOP_UNFINISHED"

    other = ScriptedModel(["after all"])
    run = await bench.run(other, effects=effects, attempt=2, input={"max_turns": 2})
    assert (run.value.text, len(other.requests)) == ("after all", 1)


async def test_given_a_model_that_calls_without_end_when_its_calls_are_over_then_no_more_are_made(
    bench: Bench,
) -> None:
    many = [("pay", {"amount": number}) for number in range(70)]
    model = ScriptedModel(lambda request: calls(*many) if request.tools else "enough")

    run = await bench.run(model)

    assert (run.value.finish_reason, len(run.value.calls)) == ("max_calls", tools_loop.MAX_CALLS)
    assert len(bench.done()) == tools_loop.MAX_CALLS


async def test_given_an_attempt_whose_time_is_nearly_over_when_it_would_go_on_then_it_asks_for_the_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects = MemoryEffects()
    monkeypatch.setattr(tools_loop, "_RESERVED_SECONDS", (1_000.0, 1_000.0))
    monkeypatch.setattr(tools_loop, "_RESERVED_SHARE", 1.0)
    model = ScriptedModel(lambda request: calls(("pay", {"amount": 1})) if request.tools else "in short")

    run = await bench.run(model, effects=effects)

    assert (run.value.text, run.value.finish_reason, bench.done()) == ("in short", "deadline", [])


async def test_given_goal_and_sources_when_asked_then_they_are_fenced_in_a_user_message(bench: Bench) -> None:
    model = ScriptedModel(["ok"])

    await bench.run(
        model, input={"goal": "G0AL", "sources": {"page": "S0URCE", "rows": [1, {"a": "é"}]}, "system": "Be brief."}
    )

    system, user = model.requests[0].messages
    assert (system.role, user.role) == ("system", "user")
    assert system.content.endswith("Be brief.")
    assert not any(part in system.content for part in ("G0AL", "S0URCE"))
    for text in ("G0AL", "S0URCE", "é"):
        assert text in user.content
    marks = [line for line in user.content.splitlines() if line.startswith(("<data-", "</data-"))]
    assert len(marks) == len(set(marks)) == 6


async def test_given_two_servers_with_the_same_tools_when_called_then_each_gets_its_own_calls(bench: Bench) -> None:
    model = ScriptedModel([calls(("shell__run", {"command": "id"}), ("pay", {"amount": 1})), "done"])

    run = await bench.run(model, input={"servers": ["mail", "shell"], "tools": ["mail/pay", "shell/run"]})

    assert [(use.server, use.tool) for use in run.value.calls] == [("shell", "run"), ("mail", "pay")]
    assert [tool.name for tool in model.requests[0].tools] == ["mail__pay", "shell__run"]


def test_given_the_agent_when_described_then_every_field_of_its_input_and_output_is_in_the_schema() -> None:
    taken, returned = json.loads(tools.input_schema), json.loads(tools.output_schema)

    assert taken["required"] == ["goal", "servers"]
    assert taken["additionalProperties"] is False
    assert set(returned["properties"]) == {"text", "value", "calls", "turns", "finish_reason", "model"}
