"""Random interleavings of everything that can happen to a ledger, on real stores, against a model in plain Python.

After every call what is stored is what the model predicts; at the end, in a healthy world, every task ends, nothing is
left in any queue, and folding a history, from its start or from anything that was read on the way, gives what is stored
(I1 to I8). `WAYBILL_TEST_EXAMPLES` sets how many runs are made for each store, and then they are drawn at random;
without it they are the same each time.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from ledger_adapting import decide_all
from ledger_callers import CALLERS, TENANTS
from ledger_dispatchers import DISPATCHERS, NO_OTHER_WAY
from ledger_fold import check_fold, check_history, fold, stored
from ledger_hand import Hand, pass_time
from ledger_plans import graph
from ledger_random import AGENTS
from ledger_rest import check_rest, check_waiting
from ledger_transitions import MAX_DEATHS, MAX_LOSSES, OPEN
from ledger_workers import ADAPTING, TIMES, WORKERS, Workers
from store_servers import plain_url

from waybill.core.task import StepState, TaskState, Usage
from waybill.ledger import keys
from waybill.ledger.records import StepRecord
from waybill.ledger.steering import PauseKind

DRAWN_ANEW = "WAYBILL_TEST_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("WAYBILL_TEST_EXAMPLES", "80"))
STEPS_OF_A_RUN = 40


class LedgerMachine(Workers, RuleBasedStateMachine):
    """One run. `url` is set by the test."""

    url = ""

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        Workers.__init__(self, self.url)
        self.client = redis.Redis.from_url(plain_url(self.url))
        self.client.flushall()
        self.read: dict[str, tuple[int, list[StepRecord]]] = {}

    @initialize(seed=st.integers(0, 2**32), window=st.sampled_from([1, 3, 64]))
    def begin(self, seed: int, window: int) -> None:
        self.random, self.window = Random(seed), window
        policy = {"claim_grace_ms": 0, "queue_window": window, "max_deaths": MAX_DEATHS, "max_losses": MAX_LOSSES}
        self.call(self.ledger.set_policy(policy))
        for hand in self.hands:
            self.register(hand)
        for _ in range(self.random.randint(1, 3)):
            self.submit()

    @rule(verb=st.sampled_from(CALLERS + WORKERS + DISPATCHERS + TIMES), seed=st.integers(0, 2**32))
    def happen(self, verb: str, seed: int) -> None:
        self.calls += 1
        self.random = Random(f"{seed} {self.calls}")
        if verb in WORKERS or verb in ADAPTING:
            getattr(self, verb)(self.random.choice(self.hands))
        else:
            getattr(self, verb)()
        self.compare()

    @rule(verb=st.sampled_from(ADAPTING), seed=st.integers(0, 2**32))
    def adapt(self, verb: str, seed: int) -> None:
        """Plans change, which takes several calls in a row: each chosen alone would hardly ever meet the others."""
        self.happen(verb, seed)

    # What has to hold.

    def compare(self) -> None:
        """What is stored is what the model predicts, and no step waits before an open queue without a reason."""
        self.call(self._compare())
        for kind, expected in (("decisions", self.model.undecided()), ("revising", self.model.revisions_due())):
            stored = self.client.zrange(keys.key("0", kind), 0, -1, withscores=True)
            assert {member.decode(): int(due) for member, due in stored} == expected
        for tenant in TENANTS:
            told = {task.decode() for task in self.client.zrange(keys.key("0", "feed", tenant), 0, -1)}
            tasks = self.model.tasks.values()
            assert told == {task.id for task in tasks if task.tenant == tenant and task.state.ended}
        check_waiting(self.client, AGENTS, self.model.paused, self.window)

    async def _compare(self) -> None:
        records = await self.ledger.tasks(list(self.model.tasks))
        for record, task in zip(records, self.model.tasks.values(), strict=True):
            assert record is not None
            reason = record.failure.reason if record.failure else ""
            assert (record.state, reason) == (task.state, task.failure)
            assert task.deadline in (None, record.deadline_at_ms)
            assert record.start_ms == task.start
            assert record.step_count - record.ended_step_count == task.open
            assert (record.revision, record.round, record.revising) == (task.revision, task.round, task.revising)
            assert set(record.sinks) == task.sinks
            assert len(record.sinks) == len(task.sinks)
            # Nothing changes without an event, so what has no new ones is as it was read before.
            sequence, steps = self.read.get(task.id, (0, []))
            if sequence != record.last_sequence:
                steps = await self.ledger.steps(task.id, 1, record.step_count, payloads=False)
                self.read[task.id] = record.last_sequence, steps
            for step in steps:
                expected = task.steps[step.number]
                why = step.failure.reason if step.failure else ""
                assert (step.dropped, step.plan_revision) == (expected.dropped, expected.revision)
                assert sorted(step.dependencies) == sorted(expected.dependencies)
                assert (step.state, step.attempt, step.tries, step.deaths, step.losses, why) == (
                    expected.state,
                    expected.attempt,
                    expected.tries,
                    expected.deaths,
                    expected.losses,
                    expected.failure,
                ), f"{step.name} of {task.id}"

    def teardown(self) -> None:
        try:
            if hasattr(self, "window"):
                self.call(self._end())
        finally:
            self.call(self.ledger.close())
            self.runner.close()
            self.client.close()

    async def _end(self) -> None:
        """A healthy world: nothing is paused, one good worker, ticks, a planner, a dispatcher, somebody who answers."""
        await self._check_letters()
        for name in self.model.paused:
            kind, _, named = name.partition(":")
            await self.ledger.set_paused(PauseKind(kind), named, False)
        for task in self.model.tasks.values():
            if task.state is TaskState.PAUSED:
                await self.ledger.resume(task.id)
        await self._drain()
        for task_id in self.tasks:
            record, steps = await check_history(self.ledger, task_id)
            assert all(step.state not in OPEN for step in steps.values())
            if record.state is TaskState.SUCCEEDED:
                ends = {step.state for step in steps.values() if not step.dropped}
                assert ends <= {StepState.SUCCEEDED, StepState.SKIPPED}
            assert record.usage == sum((step.usage for step in steps.values()), self.used_by_planner(task_id))
            assert record.run_ms == sum(step.run_ms for step in steps.values())
            assert record.wait_ms == sum(step.wait_ms for step in steps.values())
        for task_id, record, steps_then, calls_then in self.seen:
            events = await self.ledger.events(task_id, record.last_sequence + 1, 1_000_000)
            now = await self.ledger.task(task_id)
            check_fold(
                fold(events, stored(record, steps_then, calls_then)),
                now,
                await self.ledger.steps(task_id, 1, now.step_count),
            )
        await check_rest(self.ledger, self.client, self.tasks)

    def used_by_planner(self, task_id: str) -> Usage:
        """What the planner's model calls came to."""
        return Usage()

    async def _check_letters(self) -> None:
        for tenant in TENANTS:
            letters, _ = await self.ledger.dead_letters(tenant, 1_000)
            expected = {
                (task.id, n) for task in self.model.tasks.values() if task.tenant == tenant for n in task.letters
            }
            assert {(letter.task, letter.number) for letter in letters} == expected

    async def _drain(self) -> None:
        good = await Hand(self.ledger, "good", AGENTS, slots=64).register()
        records: list[Any] = []
        for _ in range(100):
            for lease in await self.ledger.lease_planning(100, 100):
                await self.ledger.attach_plan(lease.task, 0, graph({"planned": []}), lease.round)
            await decide_all(self.ledger)
            for revision in await self.ledger.lease_revisions(100, 100):
                await self.ledger.decline_revision(revision.task, revision.round, NO_OTHER_WAY)
            await good.run_all()
            records = await self.ledger.tasks(list(self.tasks))
            if all(record is not None and record.state.ended for record in records):
                return
            for record in records:
                for step in await self.ledger.steps(record.id, 1, record.step_count, payloads=False):
                    if step.state is StepState.WAITING:
                        await self.ledger.answer(record.id, step.number, b"1")
            await pass_time(self.ledger, 1_000, good)
        raise AssertionError(f"tasks that never end: {[r for r in records if r is None or not r.state.ended]}")


def test_given_any_interleaving_then_what_is_stored_is_what_the_model_predicts(store_url: str) -> None:
    class Machine(LedgerMachine):
        url = store_url

    run_state_machine_as_test(
        Machine,
        settings=settings(
            # A cluster or a watched master differs from one server in its connections alone, so fewer are tried there.
            max_examples=EXAMPLES if store_url.startswith("redis://") else max(1, EXAMPLES // 4),
            stateful_step_count=STEPS_OF_A_RUN,
            derandomize=not DRAWN_ANEW,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
