"""The protocol of `Context.once`, on an event loop and blocking, against effects that are kept in memory."""

from __future__ import annotations

import asyncio
import math
import threading
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waybill import NOT_DONE, Context, agent
from waybill.core.limits import MAX_EFFECT_KEY_CHARS, MAX_EFFECT_RESULT_BYTES
from waybill.core.task import EffectState
from waybill.errors import AgentError, EffectUnknown, Permanent
from waybill.testing import Crashed, MemoryContext, MemoryEffects, run_agent

KEY = "charge"


class Shop:
    """Counts how often it was charged, and may fail."""

    def __init__(self, *errors: BaseException | None) -> None:
        self.charges = 0
        self._errors = list(errors)

    def charge(self) -> dict[str, int]:
        if self._errors and (error := self._errors.pop(0)) is not None:
            raise error
        self.charges += 1
        return {"charge": self.charges}

    async def charge_later(self) -> dict[str, int]:
        await asyncio.sleep(0)
        return self.charge()


@agent
async def buyer(ctx: Context, shop: Any, reconcile: Any = None) -> Any:
    """Charge once, on the loop."""
    return await ctx.once(KEY, shop.charge_later, reconcile=reconcile)


@agent
def plain_buyer(ctx: Context, shop: Any, reconcile: Any = None) -> Any:
    """Charge once, blocking."""
    return ctx.once(KEY, shop.charge, reconcile=reconcile)


@agent
def plain_buyer_of_async(ctx: Context, shop: Any, reconcile: Any = None) -> Any:
    """Charge once, blocking, by an async function."""
    return ctx.once(KEY, shop.charge_later, reconcile=reconcile)


every_way = pytest.mark.parametrize("definition", [buyer, plain_buyer, plain_buyer_of_async], ids=lambda a: a.name)


async def attempt(definition: Any, effects: MemoryEffects, shop: Shop, number: int = 1, reconcile: Any = None) -> Any:
    """One attempt; what it returned, which is called directly because a shop is no JSON."""
    context = MemoryContext(attempt=number, effects=effects, hook=definition.reconcile)
    if definition.is_async:
        return await definition.function(context, shop, reconcile)
    return await asyncio.to_thread(definition.function, context, shop, reconcile)


@every_way
async def test_given_an_effect_that_is_done_when_tried_again_then_its_result_is_given_and_it_is_not_repeated(
    definition: Any,
) -> None:
    effects, shop = MemoryEffects(), Shop()

    results = [await attempt(definition, effects, shop, number) for number in (1, 2, 3)]

    assert results == [{"charge": 1}] * 3
    assert (shop.charges, effects.state(KEY)) == (1, EffectState.DONE)


@every_way
async def test_given_a_function_that_raises_when_tried_again_then_it_runs_again(definition: Any) -> None:
    effects, shop = MemoryEffects(), Shop(ValueError("card refused"))

    with pytest.raises(ValueError, match="card refused"):
        await attempt(definition, effects, shop)
    assert effects.state(KEY) is EffectState.FAILED

    assert await attempt(definition, effects, shop, 2) == {"charge": 1}


@every_way
@pytest.mark.parametrize("error", [TimeoutError("no reply"), EffectUnknown("no reply"), asyncio.CancelledError()])
async def test_given_a_function_that_leaves_doubt_when_tried_again_then_nobody_does_it_twice(
    definition: Any, error: BaseException
) -> None:
    effects, shop = MemoryEffects(), Shop(error)

    with pytest.raises(type(error)):
        await attempt(definition, effects, shop)
    assert effects.state(KEY) is EffectState.UNKNOWN

    with pytest.raises(EffectUnknown, match=f"attempt 1 .*{KEY}"):
        await attempt(definition, effects, shop, 2)
    assert shop.charges == 0


@every_way
@pytest.mark.parametrize("when", ["before", "after"])
async def test_given_a_crash_between_intention_and_record_when_the_hook_is_asked_then_it_decides(
    definition: Any, when: Any
) -> None:
    effects, shop, asked = MemoryEffects(), Shop(), []
    effects.crash(KEY, when)
    with pytest.raises(Crashed):
        await attempt(definition, effects, shop)
    assert effects.state(KEY) is EffectState.INTENDED

    async def look(key: str) -> Any:
        asked.append(key)
        return {"charge": shop.charges} if shop.charges else NOT_DONE

    assert [await attempt(definition, effects, shop, number, look) for number in (2, 3)] == [{"charge": 1}] * 2
    assert (shop.charges, asked) == (1, [KEY])


@every_way
async def test_given_a_hook_that_cannot_tell_when_asked_then_the_effect_stays_unknown(definition: Any) -> None:
    effects, shop = MemoryEffects(), Shop()
    effects.crash(KEY)
    with pytest.raises(Crashed):
        await attempt(definition, effects, shop)

    def look(key: str) -> Any:
        raise EffectUnknown("the shop is closed")

    with pytest.raises(EffectUnknown, match="the shop is closed"):
        await attempt(definition, effects, shop, 2, look)
    assert (shop.charges, effects.state(KEY)) == (1, EffectState.UNKNOWN)


async def test_given_a_function_that_cannot_tell_when_there_is_a_hook_then_it_is_asked_at_once() -> None:
    effects, shop = MemoryEffects(), Shop(EffectUnknown("no reply"))

    assert await attempt(buyer, effects, shop, 1, lambda _: {"charge": 7}) == {"charge": 7}
    assert effects.state(KEY) is EffectState.DONE


async def test_given_a_function_that_cannot_tell_when_the_hook_says_no_then_the_next_attempt_may_try() -> None:
    effects, shop = MemoryEffects(), Shop(EffectUnknown("no reply"))

    with pytest.raises(AgentError, match="was not done: no reply"):
        await attempt(buyer, effects, shop, 1, lambda _: NOT_DONE)

    assert await attempt(buyer, effects, shop, 2) == {"charge": 1}


async def test_given_a_hook_of_the_agent_when_an_effect_is_unknown_then_it_gets_the_context() -> None:
    @agent(reconcile=lambda ctx, key: f"{key} of attempt {ctx.attempt}")
    async def hooked(ctx: Context) -> Any:
        return await ctx.once(KEY, lambda: "done")

    effects = MemoryEffects()
    effects.crash(KEY)
    with pytest.raises(Crashed):
        await run_agent(hooked, {}, effects=effects)

    assert (await run_agent(hooked, {}, effects=effects, attempt=2)).output == "charge of attempt 2"


@every_way
@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (object(), "EFFECT_RESULT_INVALID"),
        (math.nan, "EFFECT_RESULT_INVALID"),
        ("\ud800", "EFFECT_RESULT_INVALID"),
        ("x" * MAX_EFFECT_RESULT_BYTES, "EFFECT_RESULT_TOO_LARGE"),
    ],
    ids=["object", "nan", "surrogate", "large"],
)
async def test_given_a_result_that_cannot_be_kept_when_done_then_no_attempt_does_it_again(
    definition: Any, result: Any, reason: str
) -> None:
    effects, shop = MemoryEffects(), Shop()
    shop.charge = lambda: result  # type: ignore[method-assign]

    with pytest.raises(Permanent) as caught:
        await attempt(definition, effects, shop)

    assert (caught.value.reason, effects.state(KEY)) == (reason, EffectState.UNKNOWN)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
@settings(deadline=None)
def test_given_any_json_when_it_is_a_result_then_every_attempt_gets_it_as_it_is(value: Any) -> None:
    effects = MemoryEffects()

    results = [MemoryContext(attempt=number, effects=effects).once(KEY, lambda: value) for number in (1, 2)]

    assert results == [value, value]


@pytest.mark.parametrize("key", ["", " ", "two words", "line\nbreak", "\ud800", "x" * (MAX_EFFECT_KEY_CHARS + 1), 5])
def test_given_a_key_that_will_not_do_when_asked_then_the_error_says_what_will(key: Any) -> None:
    with pytest.raises(Permanent, match=f"1 to {MAX_EFFECT_KEY_CHARS} visible characters"):
        MemoryContext().once(key, lambda: None)


async def test_given_concurrent_calls_with_one_key_when_run_then_the_function_runs_once() -> None:
    context, shop = MemoryContext(), Shop()

    results = await asyncio.gather(
        *(context.once(KEY, shop.charge_later) for _ in range(20)),
        *(asyncio.to_thread(context.once, KEY, shop.charge) for _ in range(5)),
    )

    assert results == [{"charge": 1}] * 25


async def test_given_calls_that_wait_for_their_turn_when_some_are_cancelled_then_the_others_get_theirs() -> None:
    context, shop, go = MemoryContext(), Shop(), asyncio.Event()

    async def slow() -> Any:
        await go.wait()
        return shop.charge()

    calls = [asyncio.ensure_future(context.once(KEY, slow)) for _ in range(10)]
    await asyncio.sleep(0)
    for call in calls[1::2]:
        call.cancel()
    go.set()
    for call in calls[2::4]:
        call.cancel()

    done = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)

    assert {str(result) for result in done if not isinstance(result, BaseException)} == {"{'charge': 1}"}
    assert await asyncio.wait_for(context.once(KEY, slow), 30) == {"charge": 1}


async def test_given_different_keys_when_called_at_once_then_none_waits_for_another() -> None:
    context, both = MemoryContext(), asyncio.Barrier(2)

    assert len(await asyncio.wait_for(asyncio.gather(context.once("a", both.wait), context.once("b", both.wait)), 30))


async def test_given_threads_with_different_keys_when_called_at_once_then_none_waits_for_another() -> None:
    context, both = MemoryContext(), threading.Barrier(2, timeout=30)

    await asyncio.gather(*(asyncio.to_thread(context.once, key, both.wait) for key in "ab"))


async def test_given_an_effect_that_asks_for_itself_when_run_then_it_fails_instead_of_waiting_for_ever() -> None:
    context = MemoryContext()

    with pytest.raises(Permanent, match="asks for 'charge' itself"):
        await asyncio.wait_for(context.once(KEY, lambda: context.once(KEY, lambda: None)), 30)


async def test_given_a_running_effect_when_its_agent_is_cancelled_then_it_is_unknown() -> None:
    context, begun = MemoryContext(), asyncio.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    call = asyncio.ensure_future(context.once(KEY, endless))
    await begun.wait()
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert context.effects.state(KEY) is EffectState.UNKNOWN


class World:
    """Where effects happen, or not, and what an honest look finds there."""

    def __init__(self) -> None:
        self.done = 0

    def act(self, fate: str) -> str:
        if fate == "refuses":
            raise AgentError("refused")
        if fate == "times out before":
            raise TimeoutError
        self.done += 1
        if fate == "times out after":
            raise TimeoutError
        if fate == "cannot tell":
            raise EffectUnknown("no reply")
        return f"done {self.done}"

    def look(self, key: str) -> Any:
        return f"done {self.done}" if self.done else NOT_DONE


fates = st.sampled_from(["works", "refuses", "times out before", "times out after", "cannot tell"])
crashes = st.sampled_from([None, None, "before", "after"])


@given(st.lists(st.tuples(fates, crashes, st.booleans()), max_size=8))
@settings(deadline=None)
def test_given_any_attempts_with_any_faults_when_they_follow_each_other_then_the_effect_happens_once_at_most(
    attempts: list[tuple[str, Any, bool]],
) -> None:
    world, effects, results = World(), MemoryEffects(), set()
    # Two at the end: a crash that was asked for may still be to come.
    for number, (fate, crash, hooked) in enumerate([*attempts, *[("works", None, True)] * 2], 1):
        context = MemoryContext(attempt=number, effects=effects)
        if crash:
            effects.crash(KEY, crash)
        try:
            results.add(context.once(KEY, partial(world.act, fate), reconcile=world.look if hooked else None))
        except (AgentError, TimeoutError, Crashed):
            assert world.done <= 1

    assert (world.done, results) == (1, {"done 1"})
