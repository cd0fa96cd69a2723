"""Calls that change what exists: each under one request id, and with what they return as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from client_gateway import Gateway, connected

from waybill.api.v1 import task_pb2
from waybill.core.task import EffectState, StepState, TaskState
from waybill.errors import InvalidArgument

MUTATIONS: dict[str, Callable[..., Awaitable[Any]]] = {
    "cancel": lambda client, **given: client.cancel("t1", **given),
    "pause": lambda client, **given: client.pause("t1", **given),
    "resume": lambda client, **given: client.resume("t1", **given),
    "retry": lambda client, **given: client.retry("t1", **given),
    "answer": lambda client, **given: client.answer("t1", "a", {"yes": True}, **given),
    "resolve": lambda client, **given: client.resolve_effect("t1", "a", "mail", EffectState.FAILED, **given),
    "retry letter": lambda client, **given: client.retry_dead_letter("t1.1", **given),
    "drop letter": lambda client, **given: client.drop_dead_letter("deadLetters/t1.1", **given),
    "pause agent": lambda client, **given: client.pause_agent("echo", **given),
    "resume agent": lambda client, **given: client.resume_agent("agents/echo", **given),
    "pause tenant": lambda client, **given: client.pause_tenant(**given),
    "set budget": lambda client, **given: client.set_tenant_budget(max_day_microusd=1, **given),
    "set limit": lambda client, **given: client.set_limit("agent:echo", max_concurrency=1, **given),
    "resume tenant": lambda client, **given: client.resume_tenant(**given),
}


@pytest.mark.parametrize("call", MUTATIONS.values(), ids=MUTATIONS)
async def test_every_call_that_changes_something_keeps_its_request_id_over_its_tries(call: Any) -> None:
    gateway = Gateway()
    gateway.refusals = 5
    async with connected(gateway) as client:
        await call(client)
        first = {request.request_id for request in gateway.seen}
        assert (len(gateway.seen), len(first)) == (6, 1)
        await call(client)
        await call(client, request_id="mine")
    assert gateway.seen[-2].request_id not in first
    assert gateway.seen[-1].request_id == "mine"


async def test_many_tasks_are_retried_page_by_page_under_one_request_id() -> None:
    gateway = Gateway()
    async with connected(gateway) as client:
        names = [
            name
            async for name in client.retry_many(
                [TaskState.FAILED], labels={"team": "x"}, created_from=datetime(2026, 1, 1, tzinfo=UTC)
            )
        ]
    assert names == ["tasks/p0-0", "tasks/p0-1", "tasks/p1-0"]
    assert [request.page_token for request in gateway.seen] == ["", "1", "2"]
    assert len({request.request_id for request in gateway.seen}) == 1
    wanted = gateway.seen[0].filter
    assert (list(wanted.states), dict(wanted.labels)) == ([task_pb2.TASK_STATE_FAILED], {"team": "x"})
    assert wanted.create_time_from.ToJsonString() == "2026-01-01T00:00:00Z"


async def test_answers_effects_attempts_and_letters_come_as_values() -> None:
    async with connected(Gateway()) as client:
        step = await client.answer("t1", "ask", [1, "two"])
        assert (step.name, step.output, step.question_input) == ("tasks/t1/steps/ask", [1, "two"], {})
        assert step.question is not None
        assert step.question.prompt == "Go on?"
        [attempt] = await client.attempts("t1", "a")
        assert (attempt.state, attempt.worker, attempt.run_ms) == (StepState.FAILED, "w", 7)
        assert (attempt.start_time, attempt.end_time) == (datetime.fromtimestamp(1.5, UTC), None)
        [effect] = await client.effects("t1")
        assert (effect.key, effect.state, effect.result) == ("mail", EffectState.UNKNOWN, None)
        decided = await client.resolve_effect("t1", "a", "mail", EffectState.DONE, {"id": 5})
        assert (decided.state, decided.result) == (EffectState.DONE, {"id": 5})
        assert [letter.id async for letter in client.dead_letters()] == ["t1.0", "t1.1", "t1.2"]
        letter = await client.dead_letter("t1.1")
        assert (letter.task, [item.attempt for item in letter.attempts]) == ("tasks/t1", [1])
        assert (await client.pause_agent("echo")).paused
        assert not (await client.resume_tenant()).paused
        with pytest.raises(InvalidArgument, match="answer"):
            await client.answer("t1", "ask", object())
