"""`submit`: a task is accepted once, whole, or not at all."""

import msgspec
import pytest
import redis.asyncio
from ledger_fold import check_history
from ledger_hand import Hand, succeeded
from ledger_plans import DIAMOND, accept, fan_and_join, graph, new_task, side_by_side

from waybill.core.task import Document, Priority, StepState, TaskState
from waybill.errors import AlreadyExists, ResourceExhausted
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted


async def test_given_a_plan_when_submitted_then_task_and_first_entries_exist(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph(DIAMOND), goal="go", labels={"team": "red"}, paths=("docs",), traceparent="t")
    task, steps = await check_history(ledger, task_id)
    assert (task.state, task.revision, task.step_count, task.ended_step_count) == (TaskState.RUNNING, 1, 4, 0)
    assert (task.goal, task.labels, task.paths, task.traceparent) == ("go", {"team": "red"}, ("docs",), "t")
    assert task.sinks == (4,)
    assert [step.state for step in steps.values()] == [StepState.READY, *[StepState.PENDING] * 3]
    assert len(await hand.wait()) == 1


async def test_given_a_goal_when_submitted_then_it_waits_for_a_plan(ledger: Ledger) -> None:
    task_id = await accept(ledger, goal="find out")
    task, steps = await check_history(ledger, task_id)
    assert (task.state, task.revision, steps) == (TaskState.PLANNING, 0, {})
    assert [lease.task for lease in await ledger.lease_planning(1_000, 10)] == [task_id]


async def test_given_an_accepted_task_when_submitted_again_then_the_first_is_returned(ledger: Ledger) -> None:
    first, again = new_task(graph(DIAMOND), request_id="r"), new_task(graph(DIAMOND), request_id="r")
    assert await ledger.submit([first]) == [Accepted(first.id, ledger.clock_ms, 3)]
    (result,) = await ledger.submit([again])
    assert result == Accepted(first.id, repeated=True)
    assert (await ledger.task(first.id)).last_sequence == 3
    assert await ledger.tasks([again.id]) == [None]


async def test_given_a_used_request_id_when_another_spec_comes_then_it_is_refused(ledger: Ledger) -> None:
    await accept(ledger, graph(DIAMOND), request_id="r")
    (result,) = await ledger.submit([new_task(request_id="r", fingerprint="other")])
    assert isinstance(result, AlreadyExists)


async def test_given_a_used_request_id_when_another_tenant_uses_it_then_it_is_free(ledger: Ledger) -> None:
    first = await accept(ledger, graph(DIAMOND), request_id="r")
    assert await accept(ledger, graph(DIAMOND), request_id="r", tenant="other", fingerprint="other") != first


async def test_given_many_tasks_when_submitted_together_then_each_has_its_own_result(ledger: Ledger) -> None:
    known = new_task(graph(DIAMOND))
    await ledger.submit([known])
    fresh = new_task(graph(DIAMOND))
    results = await ledger.submit(
        [fresh, known, new_task(request_id=known.request_id, fingerprint="other"), new_task(goal="g")]
    )
    assert [type(result) for result in results] == [Accepted, Accepted, AlreadyExists, Accepted]
    assert results[1] == Accepted(known.id, repeated=True)


async def test_given_more_tasks_than_a_call_takes_when_submitted_then_each_has_its_own_plan(
    ledger: Ledger, hand: Hand
) -> None:
    plans = [graph({"only": []}), graph(DIAMOND), None, graph({"only": []}, inputs={"only": b'{"a":1}'})]
    tasks = [
        new_task(plans[at % 4], goal=f"goal {at}", start_ms=ledger.clock_ms + 1 if at == 5 else 0) for at in range(230)
    ]
    tasks[77] = tasks[3]
    results = await ledger.submit(tasks)
    assert results[77] == Accepted(tasks[3].id, repeated=True)
    assert all(
        result == Accepted(task.id, ledger.clock_ms, result.last_sequence)
        for task, result in zip(tasks, results, strict=True)
        if task is not tasks[3]
    )
    for at in (0, 1, 2, 3, 4, 9, 228, 229):
        task, steps = await check_history(ledger, tasks[at].id)
        planned = plans[at % 4]
        assert (task.goal, task.step_count) == (f"goal {at}", len(planned.steps) if planned else 0)
        assert [step.input for step in steps.values()] == [
            linked.step.input for linked in (planned.steps if planned else ())
        ]
    later = await ledger.task(tasks[5].id)
    assert (later.state, later.sinks) == (TaskState.SCHEDULED, (4,))
    assert {grant.ref.task for grant in await hand.run_all()} >= {
        task.id for at, task in enumerate(tasks) if at % 4 == 0
    }


async def test_given_documents_when_submitted_then_every_byte_is_kept(ledger: Ledger) -> None:
    documents = tuple(Document(f"d{at}", "application/octet-stream", bytes(range(256))) for at in range(401))
    task_id = await accept(ledger, goal="g", documents=documents)
    assert tuple(await ledger.documents(task_id)) == documents


@pytest.mark.parametrize("width", [50, 1_000])
async def test_given_a_wide_plan_when_submitted_then_its_history_has_no_gap(ledger: Ledger, width: int) -> None:
    task_id = await accept(ledger, graph(side_by_side(width)))
    task, _ = await check_history(ledger, task_id)
    assert task.last_sequence == width + 2


async def test_given_a_plan_of_ten_thousand_steps_when_submitted_and_cancelled_then_it_ends(ledger: Ledger) -> None:
    task_id = await accept(ledger, graph(fan_and_join(9_998)))
    assert await ledger.cancel(task_id) is TaskState.CANCELLED
    await check_history(ledger, task_id)


async def test_given_a_priority_when_submitted_then_its_steps_wait_there(ledger: Ledger, hand: Hand) -> None:
    await accept(ledger, graph(side_by_side(1)), priority=Priority.HIGH)
    assert [entry.priority for entry in await hand.wait()] == [Priority.HIGH]


async def test_given_a_submission_when_watched_then_one_bell_rings_for_all_events(
    ledger: Ledger, store: redis.asyncio.Redis
) -> None:
    task = new_task(graph(side_by_side(3)))
    async with store.pubsub(ignore_subscribe_messages=True) as bell:
        await bell.subscribe(keys.key("0", "bell", task.id))
        await bell.get_message(timeout=1)
        await ledger.submit([task])
        assert [message["data"] for message in [await bell.get_message(timeout=5)]] == [b"5"]
        assert await bell.get_message(timeout=0.05) is None


class TestFullStore:
    async def test_given_a_store_at_80_percent_when_submitting_then_it_is_refused_and_the_rest_drains(
        self, ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
    ) -> None:
        task_id = await accept(ledger, graph(DIAMOND))
        used = (await store.info("memory"))["used_memory"]
        try:
            await store.config_set("maxmemory", int(used / 0.85))
            await ledger.tick()
            (refused,) = await ledger.submit([new_task(graph(DIAMOND))])
            assert isinstance(refused, ResourceExhausted)
            assert len(await hand.run_all()) == 4
        finally:
            await store.config_set("maxmemory", 0)
        assert (await ledger.task(task_id)).state is TaskState.SUCCEEDED

    async def test_given_a_full_store_when_a_known_request_is_repeated_then_it_is_found(
        self, ledger: Ledger, store: redis.asyncio.Redis
    ) -> None:
        task = new_task(graph(DIAMOND))
        await ledger.submit([task])
        try:
            await store.config_set("maxmemory", int((await store.info("memory"))["used_memory"] / 0.85))
            await ledger.tick()
            assert await ledger.submit([task]) == [Accepted(task.id, repeated=True)]
        finally:
            await store.config_set("maxmemory", 0)

    async def test_given_a_store_without_any_room_when_everything_drains_then_only_submit_is_refused(
        self, ledger: Ledger, hand: Hand, store: redis.asyncio.Redis
    ) -> None:
        running, cancelled = await accept(ledger, graph(DIAMOND)), await accept(ledger, graph(DIAMOND))
        planning = await accept(ledger, goal="g")
        try:
            await store.config_set("maxmemory", 1)
            (result,) = await ledger.submit([new_task(graph(DIAMOND))])
            assert isinstance(result, ResourceExhausted)
            await ledger.cancel(cancelled)
            (lease,) = await ledger.lease_planning(1_000, 1)
            assert await ledger.attach_plan(lease.task, 0, graph(DIAMOND))
            granted = await hand.take(1)
            await hand.renew()
            await hand.exchange(*map(succeeded, granted))
            await hand.run_all()
            ledger.clock_ms += 1_000
            assert (await ledger.tick()).ran
            ledger.clock_ms += 365 * 24 * 3_600_000
            assert await ledger.expire(10) == 3
        finally:
            await store.config_set("maxmemory", 0)
        assert await ledger.tasks([running, cancelled, planning]) == [None, None, None]

    async def test_given_a_full_store_when_it_has_room_again_then_submit_works(
        self, ledger: Ledger, store: redis.asyncio.Redis
    ) -> None:
        try:
            await store.config_set("maxmemory", 1)
            await ledger.tick()
        finally:
            await store.config_set("maxmemory", 0)
        (refused,) = await ledger.submit([new_task(graph(DIAMOND))])
        assert isinstance(refused, ResourceExhausted)
        ledger.clock_ms += 1_000
        await ledger.tick()
        await accept(ledger, graph(DIAMOND))


async def test_given_an_output_of_any_bytes_when_settled_then_it_is_stored_as_is(ledger: Ledger, hand: Hand) -> None:
    task_id = await accept(ledger, graph({"only": []}))
    output = msgspec.json.encode("ünïcode \x00 " + "x" * 100_000)
    (grant,) = await hand.take()
    await hand.exchange(succeeded(grant, output))
    assert await ledger.outputs(task_id, [1]) == [output]
    assert (await ledger.steps(task_id, 1, 1))[0].output == output
