"""Random interleavings of everything that can happen to a ledger, on real stores, against a model in plain Python.

After every call what is stored is what the model predicts; at the end, in a healthy world, every task ends, nothing is
left in any queue, and folding a history, from its start or from anything that was read on the way, gives what is stored
(I1 to I8). `WAYBILL_TEST_EXAMPLES` sets how many runs are made for each store, and then they are drawn at random;
without it they are the same each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable, Sequence
from random import Random
from typing import Any, TypeVar

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from ledger_fold import check_fold, check_history, fold, stored
from ledger_hand import Hand, cancelled, died, failed, handed_back, pass_time, succeeded, undecodable
from ledger_model import MAX_DEATHS, MAX_LOSSES, OPEN, Model
from ledger_plans import graph, new_task
from ledger_rest import check_rest, check_waiting
from store_servers import plain_url

from waybill.core.plan import FailurePolicy, Graph, Question, RetryPolicy
from waybill.core.task import EffectState, Event, EventType, Failure, StepState, TaskState, Usage
from waybill.errors import FailedPrecondition, NotFound
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import (
    Accepted,
    Exchange,
    Grant,
    NewTask,
    Request,
    Settlement,
    StepRecord,
    StepRef,
    TaskRecord,
)
from waybill.ledger.steering import PauseKind

DRAWN_ANEW = "WAYBILL_TEST_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("WAYBILL_TEST_EXAMPLES", "200"))
STEPS_OF_A_RUN = 40
START_MS = 1_700_000_000_000
AGENTS = ("echo", "slow")
TENANTS = ("acme", "zeta")
FINAL = Failure("GONE", "for good")
RETRIES = [
    RetryPolicy(max_attempts=3, initial_backoff_ms=50, max_backoff_ms=200, jitter=0.0, final_reasons=("GONE",)),
    RetryPolicy(max_attempts=1, jitter=0.0),
]
QUESTIONS = [Question("go?"), Question("go?", timeout_ms=400), Question("go?", timeout_ms=400, default_answer=b'"yes"')]
OUTCOMES = ("ok", "ok", "ok", "fail", "fail", "gone", "final", "later", "back", "cancelled", "died", "garbled")
CALLERS = (
    "submit",
    "submit",
    "submit_twice",
    "plan",
    "steer",
    "steer",
    "steer_twice",
    "answer",
    "pause_or_resume",
    "look",
)
WORKERS = (
    *("settle",) * 3,
    *("work_well",) * 3,
    *("work_badly", "work_amid_steering", "lose_reply", "lose_reply", "exchange"),
    *("wait", "renew", "renew_partly", "go_away", "settle_stale", "tell", "do_effects"),
)
TIMES = ("time_passes", "time_passes", "live_on", "everything_pauses")
_Result = TypeVar("_Result")
_Choice = TypeVar("_Choice")


def random_graph(random: Random) -> Graph:
    """A graph of up to six steps, some of which ask a person."""
    after: dict[str, list[str]] = {}
    for at in range(random.randint(1, 6)):
        after[f"s{at}"] = [name for name in after if random.random() < 0.4]
    return graph(
        after,
        agents={name: random.choice(AGENTS) for name in after},
        questions={name: random.choice(QUESTIONS) for name in after if random.random() < 0.15},
        retry=random.choice(RETRIES),
        run_timeout_ms=random.choice([1_000, 60_000, 60_000]),
        queue_timeout_ms=random.choice([0] * 9 + [700]),
        on_failure=random.choice(list(FailurePolicy)),
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
        self.seen: list[tuple[str, TaskRecord, list[StepRecord]]] = []
        self.calls = 0
        self.read: dict[str, tuple[int, list[StepRecord]]] = {}

    def call(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return self.runner.run(coroutine)

    @initialize(seed=st.integers(0, 2**32), window=st.sampled_from([1, 3, 64]))
    def begin(self, seed: int, window: int) -> None:
        self.random, self.window = Random(seed), window
        policy = {"claim_grace_ms": 0, "queue_window": window, "max_deaths": MAX_DEATHS, "max_losses": MAX_LOSSES}
        self.call(self.ledger.set_policy(policy))
        for hand in self.hands:
            self._register(hand)
        for _ in range(self.random.randint(1, 3)):
            self.submit()

    # What is picked.

    def _pick(self, choices: Iterable[_Choice]) -> _Choice | None:
        known = list(choices)
        return self.random.choice(known) if known else None

    def _outcomes(self) -> list[str]:
        return self.random.choices(OUTCOMES, k=self.random.randint(1, 3))

    @rule(verb=st.sampled_from(CALLERS + WORKERS + TIMES), seed=st.integers(0, 2**32))
    def happen(self, verb: str, seed: int) -> None:
        self.calls += 1
        self.random = Random(f"{seed} {self.calls}")
        if verb in WORKERS:
            getattr(self, verb)(self.random.choice(self.hands))
        else:
            getattr(self, verb)()
        self.compare()

    # Callers.

    def submit(self) -> None:
        task = new_task(
            random_graph(self.random) if self.random.random() < 0.8 else None,
            tenant=self.random.choice(TENANTS),
            goal="g",
            deadline_ms=self.random.choice([0] * 8 + [900, 86_400_000]),
        )
        (accepted,) = self.call(self.ledger.submit([task]))
        assert isinstance(accepted, Accepted)
        self.tasks[task.id] = task
        self.model.submit(task)

    def submit_twice(self) -> None:
        if task := self._pick(self.tasks.values()):
            assert self.call(self.ledger.submit([task])) == [Accepted(task.id, repeated=True)]

    def plan(self) -> None:
        """A dispatcher leases a goal, and plans it unless it dies."""
        for lease in self.call(self.ledger.lease_planning(500, 1)):
            if self.random.random() < 0.5:
                planned = random_graph(self.random)
                assert self.call(self.ledger.attach_plan(lease.task, 0, planned))
                self.model.plan(lease.task, new_task(planned))

    def steer(self, verb: str = "", task_id: str = "") -> None:
        task_id = task_id or self._pick(self.tasks) or ""
        verb = verb or self.random.choice(["cancel", "pause", "pause", "resume", "resume", "retry", "retry"])
        if not task_id:
            return
        request = Request(self.tasks[task_id].tenant, f"steer-{len(self.requests)}")
        try:
            state = self.call(getattr(self.ledger, verb)(task_id, request))
        except FailedPrecondition:
            assert not getattr(self.model, verb)(task_id)
        else:
            assert getattr(self.model, verb)(task_id), f"{verb} was not to be allowed"
            assert state is self.model.tasks[task_id].state
            self.requests[request] = (verb, task_id)

    def steer_twice(self) -> None:
        """A call that was made before comes again, late: it changes nothing."""
        if picked := self._pick(self.requests.items()):
            request, (verb, task_id) = picked
            assert self.call(getattr(self.ledger, verb)(task_id, request)) is self.model.tasks[task_id].state

    def answer(self) -> None:
        steps = [(task, step) for task in self.model.tasks.values() for step in task.steps.values()]
        asked = [pair for pair in steps if pair[1].state is StepState.WAITING]
        if picked := self._pick(asked or steps):
            task, step = picked
            try:
                self.call(self.ledger.answer(task.id, step.number, b'"yes"'))
            except FailedPrecondition:
                assert not self.model.answer(task.id, step.number)
            else:
                assert self.model.answer(task.id, step.number)

    def pause_or_resume(self) -> None:
        """An agent or a tenant is held, or goes on."""
        names = [*(f"agent:{name}" for name in AGENTS), *(f"tenant:{name}" for name in TENANTS)]
        name = self.random.choice(sorted(self.model.paused) or names)
        kind, _, named = name.partition(":")
        self.call(self.ledger.set_paused(PauseKind(kind), named, name not in self.model.paused))
        self.model.paused ^= {name}

    def look(self) -> None:
        """The history is whole at any moment, and what is read here is a place to follow it from."""
        if task_id := self._pick(self.tasks):
            task, steps = self.call(check_history(self.ledger, task_id))
            self.seen.append((task_id, task, list(steps.values())))

    # Workers.

    def _register(self, hand: Hand) -> None:
        self.call(hand.register())
        self.model.register(hand.id, hand.name)

    def _restart(self, hand: Hand) -> None:
        self.call(hand.restart())
        self.model.register(hand.id, hand.name)

    def wait(self, hand: Hand) -> None:
        """Batches are read; sometimes the process forgets them before it claims them."""
        try:
            self.call(hand.wait())
        except NotFound:
            self._restart(hand)
        if self.random.randint(0, 3) == 0:
            hand.read.clear()

    def exchange(self, hand: Hand, outcomes: Sequence[str] = (), *, lost: bool = False) -> None:
        if hand.unanswered is not None:
            self._repeat(hand)
            return
        made = [
            _settlement(how, grant, Usage(*(self.random.randint(0, 9) for _ in range(3))))
            for how, grant in zip(outcomes, hand.held.values(), strict=False)
        ]
        self.settled += made
        try:
            reply = self.call(hand.lose(*made) if lost else hand.exchange(*made))
        except NotFound:
            assert hand.id not in self.model.workers
            self._restart(hand)
        else:
            self._applied(hand, made, reply)

    def _applied(self, hand: Hand, made: list[Settlement], reply: Exchange) -> None:
        assert self.model.beat(hand.id)
        stale = [item.ref for item in made if not self.model.settle(hand.id, item)]
        assert list(reply.stale) == stale
        for grant in reply.grants:
            self.model.grant(grant.ref, hand.id, hand.seq, suspect=grant.suspect)

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

    def settle(self, hand: Hand) -> None:
        """Some of what is held ends somehow; more is taken."""
        self.exchange(hand, self._outcomes())

    def lose_reply(self, hand: Hand) -> None:
        self.exchange(hand, self._outcomes(), lost=True)

    def work_well(self, hand: Hand) -> None:
        """All that is held succeeds, and what follows is taken."""
        for _ in range(self.random.randint(1, 4)):
            self.exchange(hand, ["ok"] * 3)

    def work_badly(self, hand: Hand) -> None:
        """Whatever is held goes wrong, again and again."""
        for _ in range(self.random.randint(1, 4)):
            self.exchange(hand, [self.random.choice(["fail", "fail", "final", "died", "died", "garbled"])] * 3)
            self.advance(self.random.choice([0, 130]))

    def work_amid_steering(self, hand: Hand) -> None:
        """A task is steered while its steps run; they end; then, perhaps, it goes on."""
        self.exchange(hand)
        if ref := self._pick(ref for ref in hand.held if self.model.holding(hand.id, ref)):
            verb = self.random.choice(["pause", "pause", "cancel"])
            self.steer(verb, ref.task)
            self.advance(self.random.choice([0, 0, 900]))
            self.exchange(hand, self.random.choice([["ok"] * 3, self._outcomes()]))
            self.steer("resume" if verb == "pause" else "retry", ref.task)
            self.exchange(hand)

    def settle_stale(self, hand: Hand) -> None:
        """A settlement that was made before, by whoever, comes again."""
        item = self._pick(self.settled)
        if item is not None and hand.unanswered is None and item.ref not in hand.held:
            try:
                reply = self.call(hand.exchange(item))
            except NotFound:
                self._restart(hand)
            else:
                self._applied(hand, [item], reply)

    def renew(self, hand: Hand, *, forgets: bool = False) -> None:
        if forgets and hand.unanswered is None and (ref := self._pick(hand.held)) is not None:
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

    def renew_partly(self, hand: Hand) -> None:
        """The worker has lost track of a step."""
        self.renew(hand, forgets=True)

    def go_away(self, hand: Hand) -> None:
        """The process is gone: it says nothing, comes back under its name, or says goodbye."""
        how = self.random.choice(["silent", "restarts", "leaves"])
        if how == "leaves":
            self.call(self.ledger.unregister(hand.id))
            self.model.lose(hand.id, died=False)
        else:
            hand.name += "x" if how == "silent" else ""
            self._restart(hand)

    def tell(self, hand: Hand) -> None:
        if (ref := self._pick(hand.held)) is not None:
            event = Event(type=EventType.STEP_TEXT, step=hand.held[ref].step, attempt=ref.attempt, text="…")
            current = self.call(self.ledger.append_events(hand.id, ref, 0, [event]))
            assert current == (self.model.holding(hand.id, ref) is not None)

    def do_effects(self, hand: Hand) -> None:
        """An attempt does what must not happen twice, again and again; sometimes it stops in the middle."""
        if (ref := self._pick(hand.held)) is not None:
            for at in range(self.random.randint(1, 3)):
                self._do_effect(hand, ref, f"n{self.calls}-{at}")

    def _do_effect(self, hand: Hand, ref: StepRef, nonce: str) -> None:
        key = self.random.choice("ab")
        place = (ref.task, ref.number, key)
        found = self.model.holding(hand.id, ref)
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
            ends = self.random.choice([None, EffectState.DONE, EffectState.FAILED, EffectState.UNKNOWN])
            if ends is not None:
                assert self.call(self.ledger.end_effect(hand.id, ref, key, nonce, ends, b'"r"'))
                self.model.effects[place] = (ends, ref.attempt, '"r"')

    # Time.

    def advance(self, ms: int) -> None:
        self.model.now = self.ledger.clock_ms = self.ledger.clock_ms + ms
        assert self.call(self.ledger.tick()).ran == self.model.tick()

    def time_passes(self) -> None:
        self.advance(self.random.choice([0, 60, 130, 500]))

    def live_on(self) -> None:
        """Seconds pass with ticks; those who beat stay alive."""
        beating = [at for at in (0, 1) if self.random.random() < 0.7]
        for _ in range(self.random.randint(1, 4)):
            self.model.now = self.ledger.clock_ms = self.ledger.clock_ms + 1_000
            for at in beating:
                self.renew(self.hands[at])
            self.advance(0)

    def everything_pauses(self) -> None:
        """Nobody may lose anything for that alone."""
        known = set(self.model.workers)
        self.advance(self.random.choice([3_000, 20_000]))
        assert set(self.model.workers) == known

    # What has to hold.

    def compare(self) -> None:
        """What is stored is what the model predicts, and no step waits before an open queue without a reason."""
        self.call(self._compare())
        check_waiting(self.client, AGENTS, self.model.paused, self.window)

    async def _compare(self) -> None:
        records = await self.ledger.tasks(list(self.model.tasks))
        for record, task in zip(records, self.model.tasks.values(), strict=True):
            assert record is not None
            reason = record.failure.reason if record.failure else ""
            assert (record.state, reason) == (task.state, task.failure)
            assert task.deadline in (None, record.deadline_at_ms)
            assert record.step_count - record.ended_step_count == task.open
            # Nothing changes without an event, so what has no new ones is as it was read before.
            sequence, steps = self.read.get(task.id, (0, []))
            if sequence != record.last_sequence:
                steps = await self.ledger.steps(task.id, 1, record.step_count, payloads=False)
                self.read[task.id] = record.last_sequence, steps
            for step in steps:
                expected = task.steps[step.number]
                why = step.failure.reason if step.failure else ""
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
            derandomize=not DRAWN_ANEW,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
