"""What providers tell of their limits is learned, and never makes more of what an operator allows."""

from __future__ import annotations

from ledger_calls import GO, begin
from ledger_hand import Hand, pass_time, succeeded
from ledger_plans import accept, graph, side_by_side

from waybill.core.task import Usage
from waybill.ledger.call_records import CallVerdict, Observed, Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Grant

THROTTLED = Observed(throttled=True, retry_after_ms=1_000)


async def calling(ledger: Ledger, hand: Hand, count: int) -> list[Grant]:
    """Attempts with a call each under way."""
    await accept(ledger, graph(side_by_side(count)))
    grants = await hand.take()
    for grant in grants:
        assert await begin(ledger, hand.id, grant.ref) == GO
    return grants


async def test_given_a_throttled_call_then_nobody_calls_until_the_provider_allows(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(side_by_side(2)))
    first, second = await hand.take()
    assert await begin(ledger, hand.id, first.ref) == GO
    await ledger.end_call(first.ref, 1, Usage(), Observed(throttled=True, retry_after_ms=7_000))
    decision = await begin(ledger, hand.id, second.ref)
    assert (decision.verdict, decision.wait_ms) == (CallVerdict.WAIT, 2_500)
    (limit,) = await ledger.limits()
    assert (limit.blocked_until_ms, limit.learned.max_concurrency) == (ledger.clock_ms + 7_000, 1)
    await pass_time(ledger, 7_100, hand)
    assert await begin(ledger, hand.id, second.ref) == GO
    for number in range(2, 40):
        await ledger.end_call(second.ref, number - 1, Usage())
        assert await begin(ledger, hand.id, second.ref, number) == GO
    assert (await ledger.limits())[0].learned.max_concurrency > 3
    await hand.exchange(succeeded(first), succeeded(second))


async def test_given_limits_in_headers_then_they_are_kept(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(side_by_side(1)))
    (grant,) = await hand.take()
    await begin(ledger, hand.id, grant.ref)
    told = Observed(requests_per_minute=60, tokens_per_minute=6_000, remaining_requests=0, reset_requests_ms=2_000)
    await ledger.end_call(grant.ref, 1, Usage(10, 10), told)
    assert (await ledger.limits())[0].learned == Rates(0, 60, 6_000)
    assert (await begin(ledger, hand.id, grant.ref, 2)).verdict is CallVerdict.WAIT
    await pass_time(ledger, 2_100, hand)
    assert await begin(ledger, hand.id, grant.ref, 2) == GO
    await hand.exchange(succeeded(grant))


async def test_given_a_burst_of_refusals_then_half_of_what_was_under_way_is_tried_next(
    ledger: Ledger, hand: Hand
) -> None:
    grants = await calling(ledger, hand, 12)
    for grant in grants:
        await ledger.end_call(grant.ref, 1, Usage(), THROTTLED)
    assert (await ledger.limits())[0].learned.max_concurrency == 6
    await pass_time(ledger, 1_100, hand)
    verdicts = [(await begin(ledger, hand.id, grant.ref, 2)).verdict for grant in grants]
    assert verdicts.count(CallVerdict.GO) == 6
    await ledger.end_call(grants[0].ref, 2, Usage(), THROTTLED)
    assert (await ledger.limits())[0].learned.max_concurrency == 3
    await hand.exchange(*map(succeeded, grants))


async def test_given_refusals_then_rates_go_down_at_once_and_up_again_slowly(ledger: Ledger, hand: Hand) -> None:
    await ledger.set_limit("model:default", Rates(requests_per_minute=6_000))
    (grant,) = await calling(ledger, hand, 1)
    await ledger.end_call(grant.ref, 1, Usage(), THROTTLED)
    (limit,) = await ledger.limits()
    assert (limit.rates, limit.slowed) == (Rates(requests_per_minute=6_000), 0.5)
    parts = []
    for number in range(2, 40):
        await pass_time(ledger, 1_100, hand)
        assert await begin(ledger, hand.id, grant.ref, number) == GO
        await ledger.end_call(grant.ref, number, Usage())
        parts.append((await ledger.limits())[0].slowed)
    assert parts == sorted(parts)
    assert parts[0] < 0.6
    assert parts[-1] == 1.0
    await hand.exchange(succeeded(grant))


async def test_given_a_provider_that_allows_more_then_what_an_operator_set_is_not_exceeded(
    ledger: Ledger, hand: Hand
) -> None:
    await ledger.set_limit("model:default", Rates(max_concurrency=2, requests_per_minute=20))
    first, second = await calling(ledger, hand, 2)
    assert (await begin(ledger, hand.id, second.ref, 2)).verdict is CallVerdict.WAIT
    for grant in (first, second):
        await ledger.end_call(grant.ref, 1, Usage(), Observed(requests_per_minute=90_000, remaining_requests=80_000))
    verdicts = [(await begin(ledger, hand.id, grant.ref, 3)).verdict for grant in (first, second)]
    assert CallVerdict.GO not in verdicts, "20 a minute are 2 at once, and those are gone"
    await hand.exchange(succeeded(first), succeeded(second))


async def test_given_little_that_remains_then_no_more_is_started_than_that(ledger: Ledger, hand: Hand) -> None:
    grants = await calling(ledger, hand, 8)
    told = Observed(requests_per_minute=600, remaining_requests=3)
    for grant in grants:
        await ledger.end_call(grant.ref, 1, Usage(), told)
    verdicts = [(await begin(ledger, hand.id, grant.ref, 2)).verdict for grant in grants]
    assert verdicts.count(CallVerdict.GO) == 3
    await hand.exchange(*map(succeeded, grants))


async def test_given_a_provider_that_asks_for_a_year_then_it_is_asked_again_in_a_day(
    ledger: Ledger, hand: Hand
) -> None:
    (grant,) = await calling(ledger, hand, 1)
    await ledger.end_call(grant.ref, 1, Usage(), Observed(throttled=True, retry_after_ms=365 * 86_400_000))
    (limit,) = await ledger.limits()
    assert limit.blocked_until_ms == ledger.clock_ms + 86_400_000
    await hand.exchange(succeeded(grant))
