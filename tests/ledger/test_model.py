"""Random interleavings of everything that can happen to a ledger, on real stores, against a model in plain Python.

After every call what is stored is what the model predicts; at the end, in a healthy world, every task ends, nothing is
left in any queue, and folding a history, from its start or from anything that was read on the way, gives what is stored
(I1 to I8). `WAYBILL_TEST_EXAMPLES` sets how many runs are made for each store; from a hundred on they are drawn at
random each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from ledger_fold import check_fold, check_history, fold, stored
from ledger_hand import Hand, cancelled, died, failed, handed_back, pass_time, succeeded, undecodable
from ledger_model import MAX_DEATHS, MAX_LOSSES, OPEN, Model, ModelTask
from ledger_plans import graph, new_task
from ledger_rest import check_rest, check_waiting
from store_servers import plain_url

from waybill.core.plan import FailurePolicy, Graph, Question, RetryPolicy
from waybill.core.task import EffectState, Event, EventType, Failure, StepState, TaskState, Usage
from waybill.errors import FailedPrecondition, NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted, Exchange, Grant, NewTask, Request, Settlement, StepRef
from waybill.ledger.steering import PauseKind

EXAMPLES = int(os.environ.get("WAYBILL_TEST_EXAMPLES", "60"))
STEPS_OF_A_RUN = 40
START_MS = 1_700_000_000_000
AGENTS = ("echo", "slow")
TENANTS = ("acme", "zeta")
FINAL = Failure("GONE", "for good")
RETRIES = st.sampled_from(
    [
        RetryPolicy(max_attempts=3, initial_backoff_ms=50, max_backoff_ms=200, jitter=0.0, final_reasons=("GONE",)),
        RetryPolicy(max_attempts=1, jitter=0.0),
    ]
)
QUESTIONS = st.sampled_from(
    [Question("go?"), Question("go?", timeout_ms=400), Question("go?", timeout_ms=400, default_answer=b'"yes"')]
)
INDEX = st.integers(0, 10**6)
_Result = TypeVar("_Result")


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A random graph of up to six steps, some of which ask a person."""
    after: dict[str, list[str]] = {}
    for at in range(draw(st.integers(1, 6))):
        after[f"s{at}"] = [name for name in after if draw(st.booleans())]
    return graph(
        after,
        agents={name: draw(st.sampled_from(AGENTS)) for name in after},
        questions={name: draw(QUESTIONS) for name in after if draw(st.integers(0, 5)) == 0},
        retry=draw(RETRIES),
        run_timeout_ms=draw(st.sampled_from([1_000, 60_000])),
        queue_timeout_ms=draw(st.sampled_from([0, 0, 0, 700])),
        on_failure=draw(st.sampled_from(FailurePolicy)),
    )


class LedgerMachine(RuleBasedStateMachine):
    """One run. `url` is set by the test."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.client = redis.Redis.from_url(plain_url(self.url))
        self.client.flushall()
        self.ledger = Ledger(self.url, clock_ms=START_MS)
        self.model = Model(START_MS)
        self.tasks: dict[str, NewTask] = {}
        two = Hand(self.ledger, "two", ("echo",), slots=2)
        self.hands = [Hand(self.ledger, "one", AGENTS, slots=3, max_batch=4), two]
        self.settled: list[Settlement] = []
        self.requests: dict[Request, tuple[str, str]] = {}
        self.seen: list[tuple[str, Any, Any]] = []

    def call(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return self.runner.run(coroutine)

    @initialize(window=st.sampled_from([1, 3, 64]))
    def begin(self, window: int) -> None:
        self.window = window
        policy = {
            "claim_grace_ms": 0,
            "queue_window": window,
            "max_deaths": MAX_DEATHS,
            "max_losses": MAX_LOSSES,
        }
        self.call(self.ledger.set_policy(policy))
        for hand in self.hands:
            self._register(hand)

    # What is picked.

    def _task(self, index: int) -> str:
        return list(self.tasks)[index % len(self.tasks)]

    def _hand(self, index: int) -> Hand:
        return self.hands[index % len(self.hands)]

    def _held(self, hand: Hand, index: int) -> StepRef | None:
        return list(hand.held)[index % len(hand.held)] if hand.held else None

    # Callers.

    @rule(planned=graphs() | st.none(), tenant=st.sampled_from(TENANTS), deadline_ms=st.sampled_from([0, 0, 0, 900]))
    def submit(self, planned: Graph | None, tenant: str, deadline_ms: int) -> None:
        task = new_task(planned, tenant=tenant, goal="g", deadline_ms=deadline_ms)
        (accepted,) = self.call(self.ledger.submit([task]))
        assert isinstance(accepted, Accepted)
        self.tasks[task.id] = task
        self.model.submit(task)
        self.compare()

    @precondition(lambda self: self.tasks)
    @rule(index=INDEX)
    def submit_again(self, index: int) -> None:
        task = self.tasks[self._task(index)]
        assert self.call(self.ledger.submit([task])) == [Accepted(task.id, repeated=True)]
        self.compare()

    @rule(planned=graphs(), survives=st.booleans())
    def plan(self, planned: Graph, survives: bool) -> None:
        for lease in self.call(self.ledger.lease_planning(500, 1)):
            if survives:
                assert self.call(self.ledger.attach_plan(lease.task, 0, planned))
                self.model.plan(lease.task, new_task(planned))
        self.compare()

    @precondition(lambda self: self.tasks)
    @rule(index=INDEX, verb=st.sampled_from(["cancel", "pause", "pause", "resume", "resume", "retry", "retry"]))
    def steer(self, index: int, verb: str) -> None:
        task_id = self._task(index)
        request = Request(self.tasks[task_id].tenant, f"steer-{len(self.requests)}")
        try:
            state = self.call(getattr(self.ledger, verb)(task_id, request))
        except FailedPrecondition:
            assert not getattr(self.model, verb)(task_id)
        else:
            assert getattr(self.model, verb)(task_id), f"{verb} was not to be allowed"
            assert state is self.model.tasks[task_id].state
            self.requests[request] = (verb, task_id)
        self.compare()

    @precondition(lambda self: self.requests)
    @rule(index=INDEX)
    def steer_twice(self, index: int) -> None:
        """A call that was made before comes again, late: it changes nothing."""
        request, (verb, task_id) = list(self.requests.items())[index % len(self.requests)]
        state = self.call(getattr(self.ledger, verb)(task_id, request))
        assert state is self.model.tasks[task_id].state
        self.compare()

    @precondition(lambda self: self.tasks)
    @rule(index=INDEX, number=st.integers(1, 6))
    def answer(self, index: int, number: int) -> None:
        task_id = self._task(index)
        if number in self.model.tasks[task_id].steps:
            try:
                self.call(self.ledger.answer(task_id, number, b'"yes"'))
            except FailedPrecondition:
                assert not self.model.answer(task_id, number)
            else:
                assert self.model.answer(task_id, number)
            self.compare()

    @rule(name=st.sampled_from([*(f"agent:{name}" for name in AGENTS), *(f"tenant:{name}" for name in TENANTS)]))
    def pause_or_resume(self, name: str) -> None:
        kind, _, named = name.partition(":")
        paused = name not in self.model.paused
        self.call(self.ledger.set_paused(PauseKind(kind), named, paused))
        self.model.paused ^= {name}
        self.compare()

    # Workers.

    def _register(self, hand: Hand) -> None:
        self.call(hand.register())
        self.model.register(hand.id, hand.name)

    def _restart(self, hand: Hand) -> None:
        self.call(hand.restart())
        self.model.register(hand.id, hand.name)

    @rule(index=INDEX)
    def wait(self, index: int) -> None:
        hand = self._hand(index)
        try:
            self.call(hand.wait())
        except NotFound:
            self._restart(hand)
        self.compare()

    @rule(index=INDEX)
    def forget_entries(self, index: int) -> None:
        self._hand(index).read.clear()

    @rule(
        index=INDEX,
        lost=st.booleans(),
        outcomes=st.lists(
            st.sampled_from(
                ["ok", "ok", "ok", "fail", "gone", "final", "back", "cancelled", "died", "garbled", "later"]
            ),
            max_size=3,
        ),
        spent=st.integers(0, 9),
    )
    def exchange(self, index: int, lost: bool, outcomes: list[str], spent: int) -> None:
        hand = self._hand(index)
        if hand.unanswered is not None:
            self._repeat(hand)
            return
        usage = Usage(spent, spent, spent)
        made = [_settlement(how, grant, usage) for how, grant in zip(outcomes, hand.held.values(), strict=False)]
        self.settled += made
        try:
            reply = self.call(hand.lose(*made) if lost else hand.exchange(*made))
        except NotFound:
            assert hand.id not in self.model.workers
            self._restart(hand)
        else:
            self._applied(hand, made, reply)
        self.compare()

    def _repeat(self, hand: Hand) -> None:
        """The call that got no reply is made again: it changes nothing, and grants what is still held."""
        try:
            reply = self.call(hand.repeat())
        except NotFound:
            assert hand.id not in self.model.workers
            self._restart(hand)
        else:
            assert self.model.beat(hand.id)
            for grant in reply.grants:
                assert self.model.holding(hand.id, grant.ref)
        self.compare()

    def _applied(self, hand: Hand, made: list[Settlement], reply: Exchange) -> None:
        assert self.model.beat(hand.id)
        stale = [item.ref for item in made if not self.model.settle(hand.id, item)]
        assert list(reply.stale) == stale
        for grant in reply.grants:
            self.model.grant(grant.ref, hand.id, hand.seq, suspect=grant.suspect)

    @precondition(lambda self: self.settled)
    @rule(index=INDEX, old=INDEX)
    def settle_stale(self, index: int, old: int) -> None:
        """A settlement that was made before, by whoever, comes again."""
        hand, item = self._hand(index), self.settled[old % len(self.settled)]
        if hand.unanswered is None and item.ref not in hand.held:
            try:
                reply = self.call(hand.exchange(item))
            except NotFound:
                self._restart(hand)
            else:
                self._applied(hand, [item], reply)
            self.compare()

    @rule(index=INDEX, forgets=st.booleans(), which=INDEX)
    def renew(self, index: int, forgets: bool, which: int) -> None:
        hand = self._hand(index)
        if forgets and hand.unanswered is None and (ref := self._held(hand, which)) is not None:
            hand.held.pop(ref)
        try:
            renewal = self.call(hand.renew())
        except NotFound:
            assert not self.model.beat(hand.id)
            self._restart(hand)
        else:
            assert self.model.beat(hand.id)
            cancel, lost = self.model.renew(hand.id, hand.seen, hand.held)
            assert (set(renewal.cancel), set(renewal.lost)) == (cancel, lost)
            for ref in renewal.lost:
                hand.held.pop(ref)
        self.compare()

    @rule(index=INDEX, how=st.sampled_from(["silent", "restarts", "leaves"]))
    def go_away(self, index: int, how: str) -> None:
        """The process is gone: it says nothing, comes back under its name, or says goodbye."""
        hand = self._hand(index)
        if how == "leaves":
            self.call(self.ledger.unregister(hand.id))
            self.model.lose(hand.id, died=False)
        else:
            hand.name += "x" if how == "silent" else ""
            self._restart(hand)
        self.compare()

    @rule(index=INDEX, which=INDEX)
    def tell(self, index: int, which: int) -> None:
        hand = self._hand(index)
        if (ref := self._held(hand, which)) is not None:
            event = Event(type=EventType.STEP_TEXT, step=hand.held[ref].step, attempt=ref.attempt, text="…")
            current = self.call(self.ledger.append_events(hand.id, ref, 0, [event]))
            assert current == (self.model.holding(hand.id, ref) is not None)

    @rule(index=INDEX, which=INDEX, key=st.sampled_from("ab"), ends=st.sampled_from([None, *EffectState]))
    def do_effect(self, index: int, which: int, key: str, ends: EffectState | None) -> None:
        """An attempt does something that must not happen twice; without `ends` its process dies in the middle."""
        hand = self._hand(index)
        if (ref := self._held(hand, which)) is None:
            return
        nonce = f"n{len(self.model.effects)}-{ref.attempt}-{index}"
        found = self.model.holding(hand.id, ref)
        place = (ref.task, ref.number, key)
        state, by, result = self.model.effects.get(place, (EffectState.FAILED, 0, ""))
        begun = self.call(self.ledger.begin_effect(hand.id, ref, key, nonce))
        if found is None or found[0].state is TaskState.CANCELLING:
            assert begun is None
            return
        assert begun is not None
        if state is EffectState.DONE:
            assert (begun.state, begun.attempt, begun.result.decode()) == (state, by, result)
        elif state is not EffectState.FAILED:
            assert (begun.state, begun.attempt) == (EffectState.UNKNOWN, by)
            self.model.effects[place] = (EffectState.UNKNOWN, by, "")
        else:
            assert begun.state is EffectState.INTENDED
            self.model.effects[place] = (EffectState.INTENDED, ref.attempt, "")
            if ends not in (None, EffectState.INTENDED):
                assert self.call(self.ledger.end_effect(hand.id, ref, key, nonce, ends, b'"r"'))
                self.model.effects[place] = (ends, ref.attempt, '"r"')

    # Time.

    @rule(ms=st.sampled_from([1, 60, 130, 500]))
    def time_passes(self, ms: int) -> None:
        self.model.now = self.ledger.clock_ms = self.ledger.clock_ms + ms

    @rule()
    def tick(self) -> None:
        assert self.call(self.ledger.tick()).ran == self.model.tick()
        self.compare()

    @rule(seconds=st.integers(1, 4), beating=st.sets(st.integers(0, 1)))
    def live_on(self, seconds: int, beating: set[int]) -> None:
        """Seconds pass with ticks; those who beat stay alive."""
        for _ in range(seconds):
            self.time_passes(1_000)
            for at in beating:
                self.renew(at, False, 0)
            self.tick()

    @rule(ms=st.sampled_from([3_000, 20_000]))
    def everything_pauses(self, ms: int) -> None:
        """Nobody may lose anything for that alone."""
        self.time_passes(ms)
        known = set(self.model.workers)
        self.tick()
        assert set(self.model.workers) == known

    @precondition(lambda self: self.tasks)
    @rule(index=INDEX)
    def look(self, index: int) -> None:
        """The history is whole at any moment, and what is read here is a place to follow it from."""
        task_id = self._task(index)
        task, steps = self.call(check_history(self.ledger, task_id))
        self.seen.append((task_id, task, list(steps.values())))

    # What has to hold.

    def compare(self) -> None:
        """What is stored is what the model predicts, and no step waits before an open queue without a reason."""
        for task in self.model.tasks.values():
            self.call(self._compare(task))
        check_waiting(self.client, AGENTS, self.model.paused, self.window)

    async def _compare(self, task: ModelTask) -> None:
        record = await self.ledger.task(task.id)
        told = (record.state, record.failure.reason if record.failure else "", record.deadline_at_ms)
        assert told[:2] == (task.state, task.failure)
        assert task.deadline is None or told[2] == task.deadline
        assert record.step_count - record.ended_step_count == task.open
        for step in await self.ledger.steps(task.id, 1, record.step_count, payloads=False):
            expected = task.steps[step.number]
            reason = step.failure.reason if step.failure else ""
            assert (step.state, step.attempt, step.tries, step.deaths, step.losses, reason) == (
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
        """A healthy world: nothing is paused, one good worker, ticks, a planner, somebody who answers."""
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
                assert {step.state for step in steps.values()} == {StepState.SUCCEEDED}
            assert record.usage == sum((step.usage for step in steps.values()), Usage())
            assert record.run_ms == sum(step.run_ms for step in steps.values())
            assert record.wait_ms == sum(step.wait_ms for step in steps.values())
        for task_id, record, steps_then in self.seen:
            events = await self.ledger.events(task_id, record.last_sequence + 1, 1_000_000)
            now = await self.ledger.task(task_id)
            check_fold(
                fold(events, stored(record, steps_then)), now, await self.ledger.steps(task_id, 1, now.step_count)
            )
        await check_rest(self.ledger, self.client, self.tasks)

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
                await self.ledger.attach_plan(lease.task, 0, graph({"planned": []}))
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


def _settlement(how: str, grant: Grant, usage: Usage) -> Settlement:
    match how:
        case "ok":
            return succeeded(grant, usage=usage, run_ms=7)
        case "fail":
            return failed(grant, usage=usage)
        case "gone":
            return failed(grant, usage=usage, failure=FINAL)
        case "final":
            return failed(grant, final=True, usage=usage)
        case "later":
            return failed(grant, retry_after_ms=400)
        case "back":
            return handed_back(grant)
        case "cancelled":
            return cancelled(grant, usage=usage)
        case "died":
            return died(grant)
    return undecodable(grant)


def test_given_any_interleaving_then_what_is_stored_is_what_the_model_predicts(store_url: str) -> None:
    class Machine(LedgerMachine):
        url = store_url

    run_state_machine_as_test(
        Machine,
        settings=settings(
            # A cluster or a watched master differs from one server in its connections alone, so fewer are tried there.
            max_examples=EXAMPLES if store_url.startswith("redis://") else max(1, EXAMPLES // 4),
            stateful_step_count=STEPS_OF_A_RUN,
            derandomize=EXAMPLES < 100,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
