"""Fairness, for any backlogs, weights and batch sizes: shares by weight, newcomers next, priorities in order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_fold import check_history
from ledger_hand import Hand, succeeded
from ledger_plans import accept, graph, side_by_side
from ledger_rest import check_waiting
from store_servers import plain_url

from waybill.core.task import Priority, TaskState
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import BatchTerms

Result = TypeVar("Result")
TENANTS = "wxyz"
BACKLOG = 250
BATCH = st.integers(1, 24)
WEIGHTS = st.lists(st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0, 10.0]), min_size=2, max_size=4)
PROPERTY = settings(
    max_examples=15, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


class World:
    """An empty store, its ledger and some workers, driven from outside of any loop."""

    def __init__(self, url: str, runner: asyncio.Runner, client: redis.Redis) -> None:
        self.client = client
        self._runner = runner
        self.ledger = Ledger(url, clock_ms=1_700_000_000_000)

    def call(self, call: Coroutine[Any, Any, Result]) -> Result:
        """What a call comes to; no step waits while a worker is idle that is not woken."""
        result = self._runner.run(call)
        check_waiting(self.client, ("echo",), (), 64)
        return result

    def workers(self, count: int, batch: int) -> list[Hand]:
        """Workers that are busy, of an agent with batches of so many steps."""
        hands = [Hand(self.ledger, f"w{at}", slots=1, max_batch=1_000) for at in range(count)]
        self.call(self.ledger.set_shares({"echo": BatchTerms(batch, batch)}, {}))
        for hand in hands:
            self.call(hand.register())
            self.call(hand.take(0))
        return hands

    def turn(self, hand: Hand) -> list[str]:
        """All that it holds succeeds, and it takes more; whose steps those are."""
        reply = self.call(hand.exchange(*map(succeeded, list(hand.held)), free=1))
        return [grant.tenant for grant in reply.grants]


@contextmanager
def world(url: str) -> Iterator[World]:
    with asyncio.Runner() as runner, redis.Redis.from_url(plain_url(url)) as client:
        client.flushall()
        made = World(url, runner, client)
        try:
            yield made
        finally:
            runner.run(made.ledger.close())


@PROPERTY
@given(weights=WEIGHTS, batch=BATCH, workers=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_given_tenants_that_all_wait_then_each_gets_its_share_by_weight(
    embedded_url: str, weights: list[float], batch: int, workers: int, seed: int
) -> None:
    random = Random(seed)
    with world(embedded_url) as at:
        hands = at.workers(workers, batch)
        by_tenant = dict(zip(TENANTS, weights, strict=False))
        at.call(at.ledger.set_shares({"echo": BatchTerms(batch, batch)}, by_tenant))
        for tenant in by_tenant:
            at.call(accept(at.ledger, graph(side_by_side(BACKLOG)), tenant=tenant))
        taken = Counter[str]()
        # As long as everybody's steps wait.
        while max(taken.values(), default=0) + batch <= BACKLOG:
            taken.update(at.turn(random.choice(hands)))
            for one, weight in by_tenant.items():
                for other, other_weight in by_tenant.items():
                    ahead = taken[one] / weight - taken[other] / other_weight
                    assert ahead <= batch / weight + 0.01, (by_tenant, taken)


@PROPERTY
@given(batch=BATCH, workers=st.integers(1, 3), before=st.integers(1, 30), crowd=st.integers(1, 3))
def test_given_a_backlog_of_others_when_a_tenant_comes_new_then_its_step_is_in_the_next_batch(
    embedded_url: str, batch: int, workers: int, before: int, crowd: int
) -> None:
    with world(embedded_url) as at:
        hands = at.workers(workers, batch)
        for tenant in TENANTS[:crowd]:
            at.call(accept(at.ledger, graph(side_by_side(BACKLOG)), tenant=tenant))
        for turn in range(before):
            at.turn(hands[turn % workers])
        at.call(accept(at.ledger, graph(side_by_side(1)), tenant="new"))
        assert at.turn(hands[before % workers])[0] == "new"


@PROPERTY
@given(
    tasks=st.lists(st.tuples(st.sampled_from(Priority), st.sampled_from(TENANTS), st.integers(1, 30)), max_size=8),
    batch=BATCH,
    seed=st.integers(0, 2**32),
)
def test_given_steps_of_all_priorities_then_the_higher_are_taken_first_and_each_runs_once(
    embedded_url: str, tasks: list[tuple[Priority, str, int]], batch: int, seed: int
) -> None:
    random = Random(seed)
    with world(embedded_url) as at:
        hands = at.workers(2, batch)
        of = {at.call(accept(at.ledger, graph(side_by_side(n)), tenant=t, priority=p)): p for p, t, n in tasks}
        ran: list[Any] = []
        while sum(n for *_, n in tasks) > len(ran):
            hand = random.choice(hands)
            at.turn(hand)
            ran += hand.held
        ranks = [list(Priority).index(of[ref.task]) for ref in ran]
        assert ranks == sorted(ranks)
        assert len({(ref.task, ref.number) for ref in ran}) == len(ran)
        for hand in hands:
            at.turn(hand)
        for task in of:
            record, _ = at.call(check_history(at.ledger, task))
            assert record.state is TaskState.SUCCEEDED


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (1.0, 3.0)])
async def test_given_a_hundred_times_the_backlog_then_shares_are_within_five_percent_of_the_weights(
    ledger: Ledger, weights: tuple[float, float]
) -> None:
    hand = await Hand(ledger, slots=1, max_batch=8).register()
    await hand.take(0)
    await ledger.set_shares({"echo": BatchTerms(8, 8)}, {"crowd": weights[0], "small": weights[1]})
    few = 120
    for _ in range(12):
        await accept(ledger, graph(side_by_side(100 * few // 12)), tenant="crowd")
    await accept(ledger, graph(side_by_side(few)), tenant="small")
    taken = Counter[str]()
    while taken["small"] < few:
        reply = await hand.exchange(*map(succeeded, list(hand.held)), free=1)
        taken.update(grant.tenant for grant in reply.grants)
    share = taken["small"] / taken.total()
    fair = weights[1] / sum(weights)
    assert abs(share - fair) <= 0.05 * fair + 8 / taken.total()
