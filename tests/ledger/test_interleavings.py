"""Whatever happens in whatever order, what the ledger promises holds: random interleavings over real stores.

`WAYBILL_TEST_EXAMPLES` sets how many are tried for each store; from a hundred on they are drawn at random each time.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from typing import Any

import redis
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from ledger_fold import check_history
from ledger_hand import Hand, cancelled, failed, handed_back, pass_time, succeeded
from ledger_plans import graph, new_task
from store_servers import plain_url

from waybill.core.plan import Graph, RetryPolicy
from waybill.core.task import Event, EventType, StepState, TaskState, Usage
from waybill.errors import NotFound
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted, Grant, NewTask, Settlement, StepRef

EXAMPLES = int(os.environ.get("WAYBILL_TEST_EXAMPLES", "60"))
STEPS_OF_A_STORY = 40
START_MS = 1_700_000_000_000
AGENTS = ("echo", "slow")
RETRY = RetryPolicy(max_attempts=3, initial_backoff_ms=50, max_backoff_ms=200)
TENANTS = ("acme", "zeta")
Shape = tuple[dict[str, list[str]], dict[str, str], int]
VERBS = (
    "submit",
    "submit_again",
    "plan",
    "wait",
    "forget_entries",
    "exchange",
    "exchange",
    "exchange",
    "lose_reply",
    "renew_partly",
    "renew",
    "die",
    "restart",
    "leave",
    "tick",
    "pass_time",
    "jump",
    "cancel",
    "settle_stale",
    "tell",
    "look",
)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """A random graph of up to six steps, as what each waits for and runs, and how long a run may take."""
    after: dict[str, list[str]] = {}
    for at in range(draw(st.integers(1, 6))):
        after[f"s{at}"] = [name for name in after if draw(st.booleans())]
    return after, {name: draw(st.sampled_from(AGENTS)) for name in after}, draw(st.sampled_from([1_000, 60_000]))


def linked(shape: Shape) -> Graph:
    after, agents, run_timeout_ms = shape
    return graph(after, agents=agents, retry=RETRY, run_timeout_ms=run_timeout_ms)


class Story:
    """One random history: tasks and hands, and each verb that may happen to them."""

    def __init__(self, ledger: Ledger, data: st.DataObject, window: int) -> None:
        self.ledger = ledger
        self.window = window
        self.data = data
        self.tasks: dict[str, NewTask] = {}
        self.hands = [Hand(ledger, "one", AGENTS, slots=3, max_batch=4), Hand(ledger, "two", ("echo",), slots=2)]
        self.settled: list[Settlement] = []

    def draw(self, strategy: st.SearchStrategy[Any], label: str) -> Any:
        return self.data.draw(strategy, label)

    async def known(self, hand: Hand, call: Any) -> None:
        """Make a call of a worker; one that the ledger does not know any more starts again."""
        try:
            await call
        except NotFound:
            note(f"  {hand.id} is unknown")
            await hand.restart()

    async def step(self) -> None:
        verb = self.draw(st.sampled_from(VERBS), "verb")
        self.ledger.clock_ms += self.draw(st.sampled_from([0, 1, 130]), "ms")
        if verb in ("submit", "submit_again", "plan", "tick", "pass_time", "jump", "cancel", "look"):
            await getattr(self, verb)()
        else:
            hand = self.draw(st.sampled_from(self.hands), "hand")
            await self.known(hand, getattr(self, verb)(hand))
        for agent in await self.ledger.agents():
            assert not agent.waiting_steps or agent.queued_batches >= self.window, f"{agent} waits before an open queue"

    def _any_task(self) -> str:
        return list(self.tasks)[self.draw(st.integers(0, len(self.tasks) - 1), "task number")]

    def _any_held(self, hand: Hand) -> StepRef:
        return list(hand.held)[self.draw(st.integers(0, len(hand.held) - 1), "held number")]

    async def submit(self) -> None:
        shape = self.draw(shapes() | st.none(), "graph")
        task = new_task(shape and linked(shape), tenant=self.draw(st.sampled_from(TENANTS), "tenant"), goal="g")
        await self.ledger.submit([task])
        self.tasks[task.id] = task

    async def submit_again(self) -> None:
        if self.tasks:
            task = self.tasks[self._any_task()]
            assert await self.ledger.submit([task]) == [Accepted(task.id, repeated=True)]

    async def plan(self) -> None:
        for lease in await self.ledger.lease_planning(500, 1):
            if self.draw(st.booleans(), "planner survives"):
                assert await self.ledger.attach_plan(lease.task, 0, linked(self.draw(shapes(), "graph")))

    async def cancel(self) -> None:
        if self.tasks:
            await self.ledger.cancel(self._any_task())

    async def look(self) -> None:
        if self.tasks:
            await check_history(self.ledger, self._any_task())

    async def tick(self) -> None:
        await self.ledger.tick()

    async def pass_time(self) -> None:
        alive = self.draw(st.sets(st.sampled_from([0, 1])), "beating")
        for _ in range(self.draw(st.integers(1, 4), "seconds")):
            self.ledger.clock_ms += 1_000
            for at in alive:
                await self.known(self.hands[at], self.hands[at].renew())
            await self.ledger.tick()

    async def jump(self) -> None:
        """A pause of everything: nobody may lose anything for it alone."""
        self.ledger.clock_ms += self.draw(st.sampled_from([3_000, 20_000]), "pause")
        assert (await self.ledger.tick()).reclaimed == 0

    async def wait(self, hand: Hand) -> None:
        await hand.wait()

    async def forget_entries(self, hand: Hand) -> None:
        hand.read.clear()

    def _settlement(self, grant: Grant) -> Settlement:
        how = self.draw(st.sampled_from(["ok", "ok", "fail", "final", "back", "cancelled"]), "outcome")
        usage = Usage(*(self.draw(st.integers(0, 9), "spent") for _ in range(3)))
        run_ms = self.draw(st.sampled_from([0, 7, 400]), "run_ms")
        if how == "back":
            return handed_back(grant)
        if how == "cancelled":
            return cancelled(grant, usage=usage, run_ms=run_ms)
        if how == "ok":
            return succeeded(grant, usage=usage, run_ms=run_ms)
        return failed(grant, final=how == "final", usage=usage, run_ms=run_ms)

    async def exchange(self, hand: Hand, *, lost: bool = False) -> None:
        if hand.unanswered is not None:
            await hand.repeat()
            return
        count = self.draw(st.integers(0, len(hand.held)), "settles")
        settlements = [self._settlement(grant) for grant in list(hand.held.values())[:count]]
        self.settled += settlements
        if lost:
            await hand.lose(*settlements)
        else:
            await hand.exchange(*settlements)

    async def lose_reply(self, hand: Hand) -> None:
        await self.exchange(hand, lost=True)

    async def renew(self, hand: Hand) -> None:
        renewal = await hand.renew()
        for ref in renewal.lost:
            hand.held.pop(ref, None)

    async def renew_partly(self, hand: Hand) -> None:
        """The worker has lost track of some steps; it names the others."""
        if hand.held and hand.unanswered is None:
            hand.held.pop(self._any_held(hand))
        await self.renew(hand)

    async def die(self, hand: Hand) -> None:
        """The process is gone; the ledger finds out by its silence."""
        hand.name += "x"
        await hand.restart()

    async def restart(self, hand: Hand) -> None:
        await hand.restart()

    async def leave(self, hand: Hand) -> None:
        await self.ledger.unregister(hand.id)

    async def settle_stale(self, hand: Hand) -> None:
        """A settlement that was made before, by whoever: it is refused, and nothing else of the call is."""
        if self.settled and hand.unanswered is None:
            old = self.settled[self.draw(st.integers(0, len(self.settled) - 1), "settlement number")]
            if old.ref not in hand.held:
                reply = await hand.exchange(old)
                assert old.ref in reply.stale

    async def tell(self, hand: Hand) -> None:
        if hand.held:
            ref = self._any_held(hand)
            event = Event(type=EventType.STEP_TEXT, step=hand.held[ref].step, attempt=ref.attempt, text="…")
            await self.ledger.append_events(hand.id, ref, 0, [event])

    async def drain(self) -> None:
        """A healthy world: one good worker, ticks, and a planner, until nothing is left to do."""
        good = await Hand(self.ledger, "good", AGENTS, slots=64).register()
        for _ in range(100):
            for lease in await self.ledger.lease_planning(100, 100):
                await self.ledger.attach_plan(lease.task, 0, graph({"planned": []}))
            await good.run_all()
            records = await self.ledger.tasks(list(self.tasks))
            if all(record is not None and record.state.ended for record in records):
                return
            await pass_time(self.ledger, 1_000, good)
        raise AssertionError(f"tasks that never end: {[r for r in records if r is None or not r.state.ended]}")

    async def check_end(self) -> None:
        for task_id in self.tasks:
            task, steps = await check_history(self.ledger, task_id)
            assert all(step.state.ended for step in steps.values())
            if task.state is TaskState.SUCCEEDED:
                assert {step.state for step in steps.values()} == {StepState.SUCCEEDED}
            assert task.usage == sum((step.usage for step in steps.values()), Usage())
            assert task.run_ms == sum(step.run_ms for step in steps.values())
            assert task.wait_ms == sum(step.wait_ms for step in steps.values())


AT_REST = {"agents", "pace", "queues", "pulse", "policy", "queue"}


async def check_rest(ledger: Ledger, client: redis.Redis, tasks: list[str]) -> None:
    """Nothing waits, is held or is due; after the retention nothing of any task is left."""
    for worker in await ledger.workers():
        assert worker.held_steps == 0, worker
        await ledger.unregister(worker.id)
    for _ in range(2):
        ledger.clock_ms += 1_000
        await ledger.tick()
    for task in tasks:
        assert client.hget(keys.key("0", "task", task), "running") in (b"0", None)
    ledger.clock_ms += 700_000_000
    while await ledger.expire(100):
        pass
    for name in client.keys("*"):
        kind = name.decode().removeprefix(keys.prefix("0") + ":").partition(":")[0]
        assert kind in AT_REST, f"{name!r} is left behind"
        if kind == "queue":
            assert client.xlen(name) == 0, f"{name!r} still has entries"
            assert client.xpending(name, keys.GROUP)["pending"] == 0, f"{name!r} has pending entries"


async def tell_story(url: str, data: st.DataObject) -> None:
    ledger = Ledger(url, clock_ms=START_MS)
    try:
        story = Story(ledger, data, window=data.draw(st.sampled_from([1, 3, 64]), "window"))
        await ledger.set_policy({"claim_grace_ms": 0, "queue_window": story.window})
        for hand in story.hands:
            await hand.register()
        for _ in range(data.draw(st.integers(1, STEPS_OF_A_STORY), "length")):
            await story.step()
        await story.drain()
        await story.check_end()
        with closing(redis.Redis.from_url(plain_url(url))) as client:
            await check_rest(ledger, client, list(story.tasks))
    finally:
        await ledger.close()


def test_given_any_interleaving_when_drained_then_every_promise_holds(store_url: str) -> None:
    # A cluster or a watched master differs from one server in its connections alone, so fewer are tried there.
    examples = EXAMPLES if store_url.startswith("redis://") else max(1, EXAMPLES // 4)

    @settings(
        max_examples=examples,
        derandomize=EXAMPLES < 100,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.data())
    def any_story(data: st.DataObject) -> None:
        with closing(redis.Redis.from_url(plain_url(store_url))) as client:
            client.flushall()
        asyncio.run(tell_story(store_url, data))

    any_story()
