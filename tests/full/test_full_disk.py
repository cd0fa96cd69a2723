"""A store whose disk is full. With `appendfsync always` the server ends rather than acknowledge what it could not
write; with `everysec` it lives and refuses writes. Callers hear UNAVAILABLE, and go on once there is room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from full_stores import DurableServer, patiently
from ledger_fold import check_history
from ledger_hand import Hand, succeeded
from ledger_plans import accept, chain, graph, new_task
from store_servers import Server

from waybill.core.task import TaskState
from waybill.errors import Unavailable, WaybillError
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Accepted, NewTask

OpenLedger = Callable[[Server], Awaitable[Ledger]]
ROOM_BYTES = 64 * 1024
BIG = b'"' + b"x" * 10_000 + b'"'


async def submit_until_refused(ledger: Ledger) -> tuple[list[NewTask], NewTask, WaybillError]:
    """The accepted tasks, the first that was not, and why."""
    accepted: list[NewTask] = []
    while True:
        task = new_task(graph(chain(2)), input=BIG)
        try:
            (result,) = await ledger.submit([task])
        except WaybillError as error:
            return accepted, task, error
        if isinstance(result, WaybillError):
            return accepted, task, result
        accepted.append(task)


async def check_all_end(ledger: Ledger, hand: Hand, tasks: list[NewTask]) -> None:
    """Every one of these tasks runs to its end, each step once."""
    await hand.run_all()
    for task in tasks:
        record, steps = await check_history(ledger, task.id)
        assert record.state is TaskState.SUCCEEDED
        assert [step.attempt for step in steps.values()] == [1, 1]


def check_clear(error: WaybillError) -> None:
    """The caller knows that nothing is decided and the call may be repeated."""
    assert isinstance(error, Unavailable)
    assert error.reason == "STORE_UNAVAILABLE"
    assert "try again" in error.message


class TestAlways:
    async def test_given_a_disk_that_fills_up_then_no_accepted_task_is_lost_and_the_refused_one_can_be_repeated(
        self, durable: DurableServer, open_ledger: OpenLedger
    ) -> None:
        ledger = await open_ledger(durable)
        hand = await Hand(ledger).register()
        durable.fill_disk(room_bytes=ROOM_BYTES)
        accepted, refused, error = await submit_until_refused(ledger)
        assert accepted
        check_clear(error)
        assert durable.wait_for_end() == 1
        durable.start()
        (again,) = await patiently(lambda: ledger.submit([refused]))
        assert isinstance(again, Accepted)
        assert again.task == refused.id
        await check_all_end(ledger, hand, [*accepted, refused])

    async def test_given_a_disk_that_is_still_full_when_the_server_is_back_then_all_can_be_read_and_writes_are_refused(
        self, durable: DurableServer, open_ledger: OpenLedger
    ) -> None:
        ledger = await open_ledger(durable)
        hand = await Hand(ledger).register()
        durable.fill_disk(room_bytes=ROOM_BYTES)
        accepted, _, _ = await submit_until_refused(ledger)
        for _ in range(2):
            durable.wait_for_end()
            durable.start()
            durable.fill_disk()
            records = await patiently(lambda: ledger.tasks([task.id for task in accepted]))
            assert [record and record.state for record in records] == [TaskState.RUNNING] * len(accepted)
            ledger.clock_ms += 100
            with pytest.raises(Unavailable):
                await ledger.tick()
        durable.wait_for_end()
        durable.start()
        await patiently(hand.renew)
        await check_all_end(ledger, hand, accepted)

    async def test_given_a_worker_when_its_exchange_meets_a_full_disk_then_it_repeats_it_and_no_step_runs_twice(
        self, durable: DurableServer, open_ledger: OpenLedger
    ) -> None:
        ledger = await open_ledger(durable)
        hand = await Hand(ledger).register()
        task_id = await accept(ledger, graph(chain(3)))
        (grant,) = await hand.take()
        durable.fill_disk(room_bytes=100)
        with pytest.raises(Unavailable):
            await hand.exchange(succeeded(grant, BIG))
        durable.wait_for_end()
        durable.start()
        (following,) = (await patiently(hand.repeat)).grants
        assert following.step == "s1"
        await hand.run_all()
        task, steps = await check_history(ledger, task_id)
        assert task.state is TaskState.SUCCEEDED
        assert [step.attempt for step in steps.values()] == [1, 1, 1]
        assert await ledger.outputs(task_id, [1]) == [BIG]


class TestEverysec:
    async def test_given_a_disk_that_fills_up_then_writes_are_refused_until_there_is_room_and_all_goes_on(
        self, lazy: DurableServer, open_ledger: OpenLedger
    ) -> None:
        ledger = await open_ledger(lazy)
        hand = await Hand(ledger).register()
        lazy.fill_disk(room_bytes=ROOM_BYTES)
        accepted, refused, error = await submit_until_refused(ledger)
        assert accepted
        check_clear(error)
        assert await ledger.tasks([refused.id]) == [None]
        for call in (hand.renew, ledger.tick, hand.take):
            with pytest.raises(Unavailable):
                await call()
        records = await ledger.tasks([task.id for task in accepted])
        assert [record and record.state for record in records] == [TaskState.RUNNING] * len(accepted)
        lazy.make_room()
        await patiently(hand.repeat)
        assert await ledger.submit([refused]) == [Accepted(refused.id, ledger.clock_ms, 3)]
        await check_all_end(ledger, hand, [*accepted, refused])
