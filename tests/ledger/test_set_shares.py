"""`set_shares`: what an operator says of agents and tenants holds from the next call on, until it is unsaid."""

import pytest
import redis.asyncio
from ledger_hand import Hand, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentOffer, BatchTerms, WorkerOffer


async def batches(ledger: Ledger, hand: Hand, run_ms: float, waiting: int = 100) -> tuple[int, str]:
    """The size of a batch and its reason, once a step has run so long."""
    await accept(ledger, graph(side_by_side(1)))
    await hand.exchange(*(succeeded(grant, run_ms=run_ms) for grant in await hand.take(1)), free=0)
    await accept(ledger, graph(side_by_side(waiting)))
    ((batch),) = (await hand.exchange(free=1)).batches
    return batch.size, batch.reason


@pytest.mark.parametrize(
    ("terms", "run_ms", "expected"),
    [
        (BatchTerms(target_ms=100), 10, (10, "target")),
        (BatchTerms(most=4), 1, (4, "maximum")),
        (BatchTerms(least=3), 1_000, (3, "minimum")),
        (BatchTerms(7, 7), 1_000, (7, "fixed")),
        (BatchTerms(500, 500), 1, (64, "fixed")),
        (BatchTerms(most=500), 0.01, (64, "maximum")),
    ],
)
async def test_given_terms_of_an_agent_then_its_batches_keep_to_them_and_to_the_maximum_of_its_code(
    ledger: Ledger, terms: BatchTerms, run_ms: float, expected: tuple[int, str]
) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await ledger.set_shares({"echo": terms, "other": BatchTerms(1, 1)}, {})
    assert await batches(ledger, hand, run_ms) == expected


async def test_given_terms_that_are_unsaid_then_the_code_s_hold(ledger: Ledger) -> None:
    hand = await Hand(ledger, max_batch=64).register()
    await ledger.set_shares({"echo": BatchTerms(7, 7)}, {})
    await ledger.set_shares({}, {})
    assert await batches(ledger, hand, 1) == (50, "target")


async def test_given_what_code_says_of_its_agent_then_batches_keep_to_it(ledger: Ledger) -> None:
    hand = Hand(ledger)
    offer = AgentOffer("echo", 'a "max_batch":1 of words', "{}", "", max_batch=40, min_batch=20, batch_target_ms=200)
    await ledger.register(WorkerOffer(hand.id, hand.name, "127.0.0.1:1", 1, (offer,)))
    assert await batches(ledger, hand, 8) == (25, "target")
    await hand.exchange(*map(succeeded, hand.held), free=0)
    assert await batches(ledger, hand, 1_000) == (20, "minimum")


async def test_given_a_worker_of_a_release_that_said_less_then_its_maximum_holds(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    hand = await Hand(ledger, max_batch=9).register()
    await store.hdel(keys.key("0", "pace"), "echo:offer")
    assert await batches(ledger, hand, 0.1) == (9, "maximum")


async def test_given_many_weights_when_written_again_then_none_of_before_is_left(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    await ledger.set_shares(
        {f"agent-{at}": BatchTerms(1, 2) for at in range(900)}, {f"t{at}": 2.0 for at in range(900)}
    )
    assert await store.hlen(keys.key("0", "weights")) == await store.hlen(keys.key("0", "pace")) == 900
    await ledger.set_shares({"echo": BatchTerms(1, 2)}, {"acme": 0.5})
    assert await store.hgetall(keys.key("0", "weights")) == {b"acme": b"0.500000"}
    assert await store.hkeys(keys.key("0", "pace")) == [b"echo:set"]
