"""Random interleavings as in `test_model`, of which some spend money or are limited: no budget is ever crossed, nothing
starts beyond a limit, usage is what was told, and at rest nothing is reserved, held or in line.
"""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from ledger_callers import TENANTS
from ledger_calls import estimated
from ledger_spenders import SPENDERS, Spenders
from test_model import DRAWN_ANEW, EXAMPLES, STEPS_OF_A_RUN, LedgerMachine

from waybill.core.task import Usage


class SpendingMachine(Spenders, LedgerMachine):
    """One run. `url` is set by the test."""

    def __init__(self) -> None:
        LedgerMachine.__init__(self)
        self.open_accounts()

    @rule(verb=st.sampled_from(SPENDERS), seed=st.integers(0, 2**32))
    def spend(self, verb: str, seed: int) -> None:
        self.calls += 1
        self.random = Random(f"{seed} {self.calls}")
        getattr(self, verb)()
        self.compare()

    async def _compare(self) -> None:
        await super()._compare()
        for record in await self.ledger.tasks(list(self.model.tasks)):
            assert record is not None
            assert record.usage == self.model.usage(record.id)
            assert record.reserved_microusd == self.model.reserved(record.id)
            reported = self.model.reported.get(record.id, Usage()).cost_microusd
            if record.budget is not None:
                by_calls = record.usage.cost_microusd - reported
                assert by_calls + record.reserved_microusd <= record.budget.max_cost_microusd
        for tenant in TENANTS:
            budget = await self.ledger.tenant_budget(tenant)
            assert (budget.spent_total_microusd, budget.reserved_microusd) == self.model.of_tenant(tenant)

    async def _end(self) -> None:
        for task_id in self.tasks:
            stored = {(call.step_number, call.attempt, call.number): call for call in await self.ledger.calls(task_id)}
            expected = [call for call in self.model.calls.values() if call.ref.task == task_id]
            assert len(stored) == len(expected)
            for call in expected:
                found = stored[call.ref.number, call.ref.attempt, call.number]
                assert found.state is self.model.state_of(call)
        await super()._end()

    def used_by_planner(self, task_id: str) -> Usage:
        """What calls of step 0 came to."""
        calls = (call for call in self.model.calls.values() if (call.ref.task, call.ref.number) == (task_id, 0))
        return sum((estimated(call.worst) if call.told is None else call.told for call in calls), Usage())


def test_given_any_interleaving_then_money_and_limits_hold(store_url: str) -> None:
    class Machine(SpendingMachine):
        url = store_url

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=max(1, EXAMPLES // (2 if store_url.startswith("redis://") else 8)),
            stateful_step_count=STEPS_OF_A_RUN,
            derandomize=not DRAWN_ANEW,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
