"""Random interleavings of dispatchers that decide, stall, die and lose replies, of callers that change schedules, of
tasks that end, and of a clock that advances: each due time is decided exactly once, and no firing ever has two tasks.

The model knows nothing of leases and revisions: it counts what was due, and what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from ledger_schedules import LEASE_MS, TENANT, asked, every, fired_task, order_of, replace_anchor, replace_overlap
from store_servers import plain_url
from test_model import DRAWN_ANEW, EXAMPLES

from waybill.core.schedule import CatchUp, FiringOutcome, Overlap, Standing, Terms, decide, following, overdue
from waybill.errors import NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request
from waybill.ledger.schedule_records import (
    FiringOrder,
    FiringVerdict,
    NewSchedule,
    Overdue,
    ScheduleLease,
    ScheduleRecord,
)
from waybill.ledger.scheduling import Stale

START_MS = 1_700_000_000_000
INTERVAL_MS = 7_000
Result = TypeVar("Result")
NAMES = ("a", "b")
STEPS_OF_A_RUN = 40
DISPATCHERS = ("lease", "prepare", "send", "send", "send_twice", "die")
CALLERS = ("create_any", "update", "pause", "resume", "delete", "trigger")
VERBS = (*DISPATCHERS, *CALLERS, "advance", "advance", "long_outage", "end_task", "retry")


@dataclass
class Dispatcher:
    """One process: what it has leased, and the order that it is about to send."""

    leases: list[ScheduleLease] = field(default_factory=list)
    order: FiringOrder | None = None
    standing: Standing | None = None


@dataclass
class Known:
    """What the model knows of a schedule: since when it fires, how many due times were decided or missed since, the due
    times that were decided by themselves, and its tasks by due time, 0 for those that were triggered.
    """

    terms: Terms
    from_ms: int
    paused: bool = False
    decided: set[int] = field(default_factory=set)
    counted: int = 0
    tasks: dict[str, int] = field(default_factory=dict)
    queued_ms: int = 0
    next_ms: int = 0


class ScheduleMachine(RuleBasedStateMachine):
    """One run. `url` is set by the test."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ledger = Ledger(self.url)
        self.ledger.clock_ms = START_MS
        self.client = redis.Redis.from_url(plain_url(self.url))
        self.client.flushall()
        self.dispatchers = [Dispatcher() for _ in range(3)]
        self.known: dict[str, Known] = {}
        self.requests: list[tuple[str, Request]] = []
        self.ended: set[str] = set()
        self.all_tasks: set[str] = set()
        self.calls = 0

    @initialize(overlap=st.sampled_from(Overlap), catch_up=st.sampled_from(CatchUp))
    def begin(self, overlap: Overlap, catch_up: CatchUp) -> None:
        self.random = Random(0)
        self.create("a", overlap, catch_up)

    # What happens.

    @rule(verb=st.sampled_from(VERBS), seed=st.integers(0, 2**32))
    def happen(self, verb: str, seed: int) -> None:
        self.calls += 1
        self.random = Random(f"{seed} {self.calls}")
        getattr(self, verb)()

    def lease(self) -> None:
        dispatcher = self.random.choice(self.dispatchers)
        found = self.call(self.ledger.lease_schedules(LEASE_MS, self.random.randint(1, 3)))
        dispatcher.leases += found.leases

    def prepare(self) -> None:
        """A dispatcher decides, and stalls before it sends its order."""
        holding = [dispatcher for dispatcher in self.dispatchers if dispatcher.leases]
        if not holding:
            self.lease()
            return
        dispatcher = self.random.choice(holding)
        lease = dispatcher.leases.pop(self.random.randrange(len(dispatcher.leases)))
        decision = decide(lease.terms, lease.standing, self.ledger.clock_ms)
        if decision is not None:
            task = fired_task(lease.id) if decision.due_ms else None
            dispatcher.order, dispatcher.standing = order_of(lease, decision, task=task), lease.standing

    def send(self) -> None:
        self._send(once=True)

    def send_twice(self) -> None:
        """The reply is lost, and the same order is sent again."""
        self._send(once=False)

    def _send(self, *, once: bool) -> None:
        ready = [dispatcher for dispatcher in self.dispatchers if dispatcher.order]
        if not ready:
            self.prepare()
            return
        dispatcher = self.random.choice(ready)
        order, dispatcher.order = dispatcher.order, None
        assert order is not None
        fired = self.call(self.ledger.fire_schedule(order, LEASE_MS))
        if fired.revision:
            self.apply(order, fired.verdict, fired.task)
        if not once:
            assert self.call(self.ledger.fire_schedule(order, LEASE_MS)).revision == 0
        elif fired.revision and dispatcher.standing is not None:
            queued = fired.verdict is FiringVerdict.QUEUED
            after = following(dispatcher.standing, order.decision, queued=queued, busy=fired.busy)
            dispatcher.leases.append(
                ScheduleLease(order.tenant, order.id, fired.revision, fired.now_ms, after, order.terms)
            )

    def die(self) -> None:
        self.dispatchers[self.random.randrange(len(self.dispatchers))] = Dispatcher()

    def advance(self) -> None:
        self.ledger.clock_ms += self.random.choice([1, 500, 3_000, LEASE_MS, INTERVAL_MS])

    def long_outage(self) -> None:
        self.ledger.clock_ms += self.random.randint(1, 40) * INTERVAL_MS

    def end_task(self) -> None:
        running = sorted(self.all_tasks - self.ended)
        if running:
            task_id = self.random.choice(running)
            self.call(self.ledger.cancel(task_id))
            self.ended.add(task_id)

    def retry(self) -> None:
        if self.ended:
            task_id = self.random.choice(sorted(self.ended))
            self.call(self.ledger.retry(task_id))
            self.ended.discard(task_id)

    def create_any(self) -> None:
        self.create(self.random.choice(NAMES), self.random.choice(list(Overlap)), self.random.choice(list(CatchUp)))

    def create(self, name: str, overlap: Overlap, catch_up: CatchUp) -> None:
        if name in self.known:
            return
        now_ms = self.ledger.clock_ms
        terms = replace_anchor(
            every(
                INTERVAL_MS,
                overlap=overlap,
                catch_up=catch_up,
                window_ms=self.random.choice([1_000, 60_000, 86_400_000]),
            ),
            now_ms,
        )
        next_ms = terms.rule.next_after(now_ms) or 0
        schedule = NewSchedule(TENANT, name, terms, b"spec")
        self.call(
            self.ledger.create_schedule(
                schedule, "same", paused=False, created_ms=now_ms, next_ms=next_ms, request=asked()
            )
        )
        self.known[name] = Known(terms, now_ms, next_ms=next_ms)

    def update(self) -> None:
        """Terms change; what is overdue is missed."""
        name = self.random.choice(NAMES)
        stored = self.read(name)
        if stored is None:
            return
        known, now_ms = self.known[name], self.ledger.clock_ms
        late = overdue(stored.terms, stored.next_ms, now_ms)
        terms = replace_overlap(known.terms, self.random.choice(list(Overlap)))
        next_ms = terms.rule.next_after(now_ms) or 0
        self.call(
            self.ledger.update_schedule(
                NewSchedule(TENANT, name, terms, b"spec"),
                "same",
                revision=stored.revision,
                next_ms=next_ms,
                overdue=Overdue(*late),
                request=asked(),
            )
        )
        known.counted += late[0]
        known.terms, known.next_ms = terms, 0 if known.paused else next_ms

    def pause(self) -> None:
        name = self.random.choice(NAMES)
        stored = self.read(name)
        if stored is None or self.known[name].paused:
            return
        late = overdue(stored.terms, stored.next_ms, self.ledger.clock_ms)
        stale = self.random.random() < 0.2
        revision = stored.revision - 1 if stale else stored.revision
        try:
            self.call(self.ledger.pause_schedule(TENANT, name, revision=revision, overdue=Overdue(*late)))
        except Stale:
            assert stale
            return
        assert not stale
        known, now_ms = self.known[name], self.ledger.clock_ms
        known.counted += late[0]
        assert known.counted == len(known.terms.rule.due_times(known.from_ms, now_ms, 10_000))
        known.paused, known.next_ms = True, 0

    def resume(self) -> None:
        name = self.random.choice(NAMES)
        stored = self.read(name)
        if stored is None or not self.known[name].paused:
            return
        next_ms = stored.terms.rule.next_after(self.ledger.clock_ms) or 0
        self.call(self.ledger.resume_schedule(TENANT, name, revision=stored.revision, next_ms=next_ms))
        known = self.known[name]
        known.paused, known.next_ms = False, next_ms
        # What fell into the pause was never due.
        known.from_ms, known.counted = self.ledger.clock_ms, 0

    def delete(self) -> None:
        name = self.random.choice(NAMES)
        if self.read(name) is not None and self.random.random() < 0.3:
            self.call(self.ledger.delete_schedule(TENANT, name))
            del self.known[name]

    def trigger(self) -> None:
        name = self.random.choice(NAMES)
        if self.read(name) is None:
            return
        request = asked()
        first = self.call(self.ledger.trigger_schedule(TENANT, name, fired_task(name), request))
        again = self.call(self.ledger.trigger_schedule(TENANT, name, fired_task(name), request))
        assert (again.task, again.repeated) == (first.task, True)
        self.known[name].tasks[first.task] = 0
        self.all_tasks.add(first.task)

    # What the model makes of it.

    def apply(self, order: FiringOrder, verdict: FiringVerdict, task: str) -> None:
        """An order was applied: each of its due times is new."""
        known, decision = self.known[order.id], order.decision
        assert not known.paused, "nothing fires in a pause"
        assert all(due_ms < known.next_ms for due_ms in known.decided)
        known.counted += decision.missed
        if decision.due_ms and not decision.was_queued:
            assert decision.due_ms not in known.decided, "a due time is decided once"
            known.decided.add(decision.due_ms)
            known.counted += 1
        if decision.was_queued:
            assert decision.due_ms == known.queued_ms, "what waited is what is made"
            known.queued_ms = 0
        if verdict is FiringVerdict.QUEUED:
            known.queued_ms = decision.due_ms
        known.next_ms = decision.next_ms
        if verdict is FiringVerdict.SUBMITTED:
            assert task not in self.all_tasks
            if order.terms.overlap is not Overlap.ALLOW or decision.was_queued:
                self.stopped_or_ended(known, order)
            known.tasks[task] = decision.due_ms
            self.all_tasks.add(task)

    def stopped_or_ended(self, known: Known, order: FiringOrder) -> None:
        """No task of the schedule runs beside a new one, unless the policy allows it: CANCEL has stopped them."""
        running = [task_id for task_id in known.tasks if task_id not in self.ended]
        if order.terms.overlap is Overlap.CANCEL and not order.decision.was_queued:
            self.ended.update(running)
            running = []
        assert running == [], "no two tasks of a schedule run at once"

    def read(self, name: str) -> ScheduleRecord | None:
        try:
            return self.call(self.ledger.schedule(TENANT, name))
        except NotFound:
            assert name not in self.known
            return None

    def call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    # What has to hold.

    @invariant()
    def stored_as_known(self) -> None:
        tasks, _ = self.call(self.ledger.list_tasks(TENANT, 1_000))
        assert {task.id for task in tasks} == self.all_tasks
        assert {task.id for task in tasks if task.state.ended} == self.ended
        for name, known in self.known.items():
            stored = self.read(name)
            assert stored is not None
            assert (stored.next_ms, stored.queued_ms, stored.paused) == (
                known.next_ms,
                known.queued_ms,
                known.paused,
            )
            assert stored.submitted == len(known.tasks)
            if not known.paused:
                due = known.terms.rule.due_times(known.from_ms, known.next_ms - 1, 10_000)
                assert known.counted == len(due), "each due time is decided or missed, once"
            fired = [due_ms for due_ms in known.tasks.values() if due_ms]
            assert len(fired) == len(set(fired)), "no firing has two tasks"
            told = [firing.task for firing in stored.firings if firing.outcome is FiringOutcome.SUBMITTED]
            assert set(told) <= known.tasks.keys()
            active = {member.decode() for member in self.client.smembers(f"waybill:{{0}}:active:{TENANT}:{name}")}
            assert {task_id for task_id in known.tasks if task_id not in self.ended} <= active | self.deleted_tasks()

    def deleted_tasks(self) -> set[str]:
        """Tasks of schedules that were deleted, which nobody keeps for a new one of the name."""
        kept = {task_id for known in self.known.values() for task_id in known.tasks}
        return self.all_tasks - kept

    def teardown(self) -> None:
        try:
            if self.known:
                self.settle()
        finally:
            self.call(self.ledger.close())
            self.runner.close()
            self.client.close()

    def settle(self) -> None:
        """A healthy world: all that was due is decided, and what waits is made as soon as the tasks have ended."""
        self.dispatchers = [Dispatcher()]
        self.ledger.clock_ms += LEASE_MS
        self.decide_due()
        for task_id in sorted(self.all_tasks - self.ended):
            self.call(self.ledger.cancel(task_id))
            self.ended.add(task_id)
        self.decide_due()
        self.stored_as_known()
        for known in self.known.values():
            assert known.paused or known.next_ms > self.ledger.clock_ms, "nothing that is due is left"
            running = known.tasks.keys() - self.ended
            assert known.paused or not known.queued_ms or running, "nothing waits for nothing"

    def decide_due(self) -> None:
        """Decide whatever is due now, as the only dispatcher."""
        while found := self.call(self.ledger.lease_schedules(LEASE_MS, 10)).leases:
            for lease in found:
                self.decide_all(lease)

    def decide_all(self, lease: ScheduleLease) -> None:
        standing, revision, now_ms = lease.standing, lease.revision, lease.now_ms
        while decision := decide(lease.terms, standing, now_ms):
            task = fired_task(lease.id) if decision.due_ms else None
            order = replace(order_of(lease, decision, task=task), revision=revision)
            fired = self.call(self.ledger.fire_schedule(order, LEASE_MS))
            assert fired.revision, f"nobody else decides, and yet: {fired}"
            self.apply(order, fired.verdict, fired.task)
            queued = fired.verdict is FiringVerdict.QUEUED
            standing = following(standing, decision, queued=queued, busy=fired.busy)
            revision, now_ms = fired.revision, fired.now_ms


def test_given_any_interleaving_then_each_due_time_is_decided_once(store_url: str) -> None:
    class Machine(ScheduleMachine):
        url = store_url

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=max(1, EXAMPLES // (4 if store_url.startswith("redis://") else 16)),
            stateful_step_count=STEPS_OF_A_RUN,
            derandomize=not DRAWN_ANEW,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
