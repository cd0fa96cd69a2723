"""Turns: priorities first, then tenants by what they were given, each according to its weight."""

from ledger_hand import Hand
from ledger_plans import accept, graph, side_by_side

from waybill.core.task import Priority
from waybill.ledger.ledger import Ledger


class TestTurns:
    async def test_given_priorities_then_the_higher_run_first(self, ledger: Ledger, hand: Hand) -> None:
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
            await accept(ledger, graph(side_by_side(2)), priority=priority, tenant=priority.value)
        assert [grant.tenant for grant in await hand.take()] == ["high", "high", "normal", "normal", "low", "low"]

    async def test_given_a_crowding_tenant_then_another_does_not_wait_behind_it(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        await ledger.set_policy({"queue_window": 1})
        await accept(ledger, graph(side_by_side(50)), tenant="acme")
        await accept(ledger, graph(side_by_side(4)), tenant="zeta")
        order = []
        for _ in range(9):
            order += [grant.tenant for grant in await hand.take(1)]
        assert order.count("zeta") == 4

    async def test_given_a_tenant_that_always_comes_back_then_others_still_get_their_turn(
        self, ledger: Ledger, hand: Hand
    ) -> None:
        await ledger.set_policy({"queue_window": 1})
        await accept(ledger, graph(side_by_side(1)), tenant="acme")
        await accept(ledger, graph(side_by_side(3)), tenant="zeta")
        order = []
        for _ in range(8):
            await accept(ledger, graph(side_by_side(1)), tenant="acme")
            order += [grant.tenant for grant in await hand.take(1)]
        assert order.count("zeta") == 3, order

    async def test_given_several_agents_then_none_is_always_first(self, ledger: Ledger) -> None:
        hand = await Hand(ledger, agents=("echo", "slow")).register()
        await accept(ledger, graph({f"p{at}": [] for at in range(8)}, agents={f"p{at}": "slow" for at in range(4)}))
        firsts = {(await hand.take(1))[0].agent for _ in range(4)}
        assert firsts == {"echo", "slow"}
