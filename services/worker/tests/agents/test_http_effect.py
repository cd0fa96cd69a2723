"""Requests that have an effect: sent once, whatever dies in between."""

from __future__ import annotations

from typing import Any

import pytest
from waybill_worker.agents.http import http
from worker_web import Web, answer

from waybill.core.task import EffectState
from waybill.errors import AgentError, EffectUnknown, Permanent
from waybill.testing import Crashed, MemoryEffects, run_agent


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator allows loopback."""
    monkeypatch.setenv("WAYBILL_WORKER_HTTP_ALLOWED_NETWORKS", "127.0.0.0/8")


async def send(web: Web, effects: MemoryEffects, method: str = "POST", **more: Any) -> dict[str, Any]:
    input = {"url": web.url(), "method": method, "data": {"n": 1}, **more}
    output: dict[str, Any] = (await run_agent(http, input, effects=effects)).output
    return output


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_given_a_request_that_was_sent_when_its_step_runs_again_then_it_is_not_sent_again(method: str) -> None:
    effects = MemoryEffects()
    async with Web() as web:
        first = await send(web, effects, method)
        second = await send(web, effects, method)

    assert first == second
    assert len(web.asked) == 1


async def test_given_a_crash_after_a_post_when_its_step_runs_again_then_a_person_decides() -> None:
    effects = MemoryEffects()
    effects.crash("request")
    async with Web() as web:
        with pytest.raises(Crashed):
            await send(web, effects)
        with pytest.raises(EffectUnknown):
            await send(web, effects)

    assert len(web.asked) == 1


@pytest.mark.parametrize(("method", "more"), [("PUT", {}), ("DELETE", {}), ("POST", {"idempotent": True})])
async def test_given_a_crash_after_what_may_be_repeated_when_its_step_runs_again_then_it_is(
    method: str, more: dict[str, Any]
) -> None:
    effects = MemoryEffects()
    effects.crash("request")
    async with Web() as web:
        with pytest.raises(Crashed):
            await send(web, effects, method, **more)
        assert (await send(web, effects, method, **more))["status"] == 200

    assert len({asked.headers["idempotency-key"] for asked in web.asked}) == 1
    assert len(web.asked) == 2


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_given_a_server_that_breaks_at_a_post_then_nobody_knows_but_what_may_be_repeated_is(status: int) -> None:
    async with Web(lambda asked: answer(status)) as web:
        with pytest.raises(EffectUnknown, match=str(status)):
            await send(web, MemoryEffects())
        with pytest.raises(AgentError) as caught:
            await send(web, MemoryEffects(), idempotent=True)
        assert caught.value.reason == f"HTTP_{status}"


@pytest.mark.parametrize("status", [429, 503])
async def test_given_a_server_that_refuses_for_now_then_nothing_was_done_and_it_is_sent_again_later(
    status: int,
) -> None:
    effects = MemoryEffects()
    async with Web(lambda asked: answer(status, retry_after="3")) as web:
        with pytest.raises(AgentError) as caught:
            await send(web, effects)
        assert (caught.value.reason, caught.value.retry_after_seconds) == (f"HTTP_{status}", 3.0)
        assert effects.state("request") is EffectState.FAILED
        web.answering = lambda asked: answer(201)
        assert (await send(web, effects))["status"] == 201


async def test_given_no_answer_to_a_post_then_nobody_knows_but_without_a_connection_everybody_does() -> None:
    async with Web(lambda asked: b"") as web:
        with pytest.raises(EffectUnknown):
            await send(web, MemoryEffects())
    async with Web(hangs=True) as web:
        with pytest.raises(EffectUnknown, match="timeout_seconds"):
            await send(web, MemoryEffects(), timeout_seconds=0.3)
    effects = MemoryEffects()
    with pytest.raises(AgentError) as caught:
        await send(web, effects)
    assert caught.value.reason == "HTTP_FAILED"
    assert effects.state("request") is EffectState.FAILED


async def test_given_an_answer_that_is_of_no_use_then_the_post_counts_as_done_and_its_step_fails_for_good() -> None:
    for much, more in [(b"x" * 100, {"max_bytes": 10}), (b"\x00" * 1_000_000, {})]:
        effects = MemoryEffects()
        async with Web(lambda asked, much=much: answer(200, much)) as web:  # type: ignore[misc]
            for _ in range(2):
                with pytest.raises(Permanent) as caught:
                    await send(web, effects, **more)
                assert caught.value.reason == "BODY_TOO_LARGE"
        assert len(web.asked) == 1
        assert effects.state("request") is EffectState.DONE


async def test_given_a_refused_post_when_not_expected_then_it_fails_for_good_and_is_not_sent_again() -> None:
    effects = MemoryEffects()
    async with Web(lambda asked: answer(422, b"no")) as web:
        assert (await send(web, MemoryEffects()))["status"] == 422
        for _ in range(2):
            with pytest.raises(Permanent, match="422"):
                await send(web, effects, expect=["2xx"])

    assert len(web.asked) == 2
