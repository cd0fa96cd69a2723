"""`tick` and rest: a store in which nothing is under way is left alone, and nothing that is due waits for that."""

import pytest
import redis.asyncio
from ledger_hand import Hand, failed, succeeded
from ledger_plans import accept, graph, new_task

from waybill.core.plan import RetryPolicy
from waybill.errors import NotFound
from waybill.ledger import keys
from waybill.ledger.bells import DECISIONS, PLANNING
from waybill.ledger.ledger import BUSY_TICK_MS, WORKER_TTL_MS, Ledger
from waybill.ledger.records import TickReport

LONGEST_MS = 4_000


async def rest(ledger: Ledger) -> TickReport:
    """A tick of a dispatcher that nobody has told anything."""
    return await ledger.tick(longest_ms=LONGEST_MS, wanted=False)


class TestHowLong:
    async def test_given_an_empty_store_then_it_is_left_alone_as_long_as_asked(self, ledger: Ledger) -> None:
        assert (await rest(ledger)).next_due_ms == LONGEST_MS

    async def test_given_a_live_worker_that_holds_nothing_then_it_is_left_alone_too(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        await accept(ledger, graph({"only": []}))
        (grant,) = await hand.take()
        await hand.exchange(succeeded(grant))
        assert (await rest(ledger)).next_due_ms == LONGEST_MS

    async def test_given_a_step_that_runs_or_waits_then_the_next_tick_is_soon(self, ledger: Ledger, hand: Hand) -> None:
        await accept(ledger, graph({"only": []}))
        assert (await rest(ledger)).next_due_ms <= BUSY_TICK_MS
        await hand.take()
        ledger.clock_ms += BUSY_TICK_MS
        assert (await rest(ledger)).next_due_ms <= BUSY_TICK_MS

    async def test_given_a_timer_then_the_next_tick_is_due_with_it(self, ledger: Ledger, hand: Hand) -> None:
        backoff = RetryPolicy(initial_backoff_ms=1_500, max_backoff_ms=1_500)
        await accept(ledger, graph({"only": []}, retry=backoff))
        await hand.exchange(failed((await hand.take())[0]))
        assert BUSY_TICK_MS < (await rest(ledger)).next_due_ms <= 1_500

    async def test_given_a_task_to_be_planned_then_the_tick_rings_for_it_until_it_is_leased(
        self, ledger: Ledger
    ) -> None:
        await ledger.submit([new_task(goal="g")])
        report = await rest(ledger)
        assert report.waiting == (PLANNING,)
        assert report.next_due_ms <= BUSY_TICK_MS
        await ledger.lease_planning(60_000, 10)
        ledger.clock_ms += BUSY_TICK_MS
        report = await rest(ledger)
        assert report.waiting == ()
        assert report.next_due_ms <= BUSY_TICK_MS, "planning may be postponed at any time"

    async def test_given_conditions_to_be_looked_at_then_the_tick_rings_for_them(
        self, ledger: Ledger, store: redis.asyncio.Redis
    ) -> None:
        await store.zadd(keys.key("0", "decisions"), {"0-gone:1": 0})
        assert (await rest(ledger)).waiting == (DECISIONS,)
        await ledger.lease_decisions(5_000, 10)
        ledger.clock_ms += BUSY_TICK_MS
        report = await rest(ledger)
        assert (report.waiting, report.next_due_ms) == ((), LONGEST_MS)

    async def test_given_a_store_without_a_policy_then_the_tick_says_so(self, ledger: Ledger) -> None:
        assert not (await ledger.tick()).has_policy
        await ledger.set_policy({"max_losses": 3})
        ledger.clock_ms += BUSY_TICK_MS
        assert (await ledger.tick()).has_policy


class TestSharing:
    """Several dispatchers keep to what the one that ticked has announced."""

    async def test_given_an_announced_rest_when_another_dispatcher_ticks_meanwhile_then_it_waits_for_the_same_moment(
        self, ledger: Ledger
    ) -> None:
        await rest(ledger)
        ledger.clock_ms += 1_000
        report = await rest(ledger)
        assert (report.ran, report.next_due_ms) == (False, LONGEST_MS - 1_000)
        ledger.clock_ms += report.next_due_ms
        assert (await rest(ledger)).ran

    async def test_given_an_announced_rest_when_a_tick_is_wanted_then_it_happens(self, ledger: Ledger) -> None:
        await rest(ledger)
        await accept(ledger, graph({"only": []}))
        ledger.clock_ms += 100
        report = await ledger.tick(longest_ms=LONGEST_MS)
        assert report.ran
        assert report.next_due_ms <= BUSY_TICK_MS

    async def test_given_a_clock_that_went_back_during_a_rest_then_ticks_go_on(self, ledger: Ledger) -> None:
        await rest(ledger)
        ledger.clock_ms -= 3_600_000
        assert (await rest(ledger)).ran

    @pytest.mark.parametrize("announced", [b"", b"nonsense", b"99999999999999"])
    async def test_given_an_announcement_that_cannot_be_then_ticks_go_on(
        self, ledger: Ledger, store: redis.asyncio.Redis, announced: bytes
    ) -> None:
        await rest(ledger)
        await store.hset(keys.key("0", "pulse"), "next", announced)
        ledger.clock_ms += 100
        assert (await rest(ledger)).ran


class TestWorkersAfterARest:
    """During a rest nobody judges, and nobody held anything."""

    async def test_given_a_worker_that_died_idle_then_it_is_found_dead_soon_after_the_rest(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        assert (await rest(ledger)).next_due_ms == LONGEST_MS
        ledger.clock_ms += LONGEST_MS
        report = await rest(ledger)
        assert [worker.id for worker in await ledger.workers()] == [hand.id], "its heartbeat may be on its way"
        assert report.next_due_ms <= 500
        ledger.clock_ms += report.next_due_ms + 100
        await rest(ledger)
        assert await ledger.workers() == []

    async def test_given_a_heartbeat_that_was_on_its_way_then_its_worker_lives(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        assert (await rest(ledger)).next_due_ms == LONGEST_MS
        ledger.clock_ms += LONGEST_MS
        await rest(ledger)
        await hand.renew()
        for _ in range(4):
            ledger.clock_ms += 400
            await rest(ledger)
        await hand.renew()

    async def test_given_a_pause_of_the_store_during_a_rest_then_nobody_is_killed_for_it(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        assert (await rest(ledger)).next_due_ms == LONGEST_MS
        ledger.clock_ms += LONGEST_MS + 10 * WORKER_TTL_MS
        await rest(ledger)
        for _ in range(4):
            ledger.clock_ms += WORKER_TTL_MS // 4
            await rest(ledger)
        await hand.renew()

    async def test_given_a_worker_that_got_a_step_during_a_rest_and_died_then_it_is_not_spared_for_the_rest(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        assert (await rest(ledger)).next_due_ms == LONGEST_MS
        ledger.clock_ms += 1_000
        await accept(ledger, graph({"only": []}))
        await ledger.tick(longest_ms=LONGEST_MS)
        await hand.take()
        for _ in range(0, WORKER_TTL_MS + 200, 200):
            ledger.clock_ms += 200
            await rest(ledger)
        with pytest.raises(NotFound):
            await hand.renew()
