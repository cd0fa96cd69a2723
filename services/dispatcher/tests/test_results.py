"""Following results: who ended, in order, once, from any place on; by filter or by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from waybill_dispatcher import ends as ends_module
from waybill_dispatcher import results as results_module

from waybill.api.v1 import dispatcher_pb2, task_pb2
from waybill.ledger import feed as feed_module
from waybill.ledger import keys

ONE = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])
TWO = task_pb2.Plan(steps=[task_pb2.PlanStep(name="a", agent="echo"), task_pb2.PlanStep(name="b", agent="echo")])
CANCEL, RETRY = dispatcher_pb2.TASK_ACTION_CANCEL, dispatcher_pb2.TASK_ACTION_RETRY


class Stream:
    """One StreamResults call: its messages, one by one, and the results in them."""

    def __init__(self, suite: Any, tenant: str = "default", **fields: Any) -> None:
        request = dispatcher_pb2.StreamResultsRequest(**fields)
        self.call = suite.stub.StreamResults(request, metadata=(("x-waybill-tenant", tenant),), timeout=60)
        self._messages = self.call.__aiter__()
        self._known: list[Any] = []

    async def message(self) -> Any:
        return await anext(self._messages)

    async def results(self, count: int) -> list[Any]:
        """The next so many results."""
        while len(self._known) < count:
            self._known += (await self.message()).results
        found, self._known = self._known[:count], self._known[count:]
        return found

    async def names(self, count: int) -> list[str]:
        return [result.task.name for result in await self.results(count)]

    async def to_end(self) -> list[Any]:
        """All results until the stream ends."""
        return self._known + [result async for message in self._messages for result in message.results]

    def close(self) -> None:
        self.call.cancel()


@pytest.fixture
async def stream(suite) -> AsyncIterator[Any]:
    """Opens streams, and closes them all at the end."""
    opened: list[Stream] = []

    def opens(**fields: Any) -> Stream:
        opened.append(Stream(suite, **fields))
        return opened[-1]

    yield opens
    for one in opened:
        one.close()


class Tasks:
    """Makes tasks of the suite."""

    def __init__(self, suite: Any) -> None:
        self._suite = suite
        self._made = 0

    async def open(self, plan: task_pb2.Plan = ONE, **fields: Any) -> str:
        self._made += 1
        result = await self._suite.submit(plan=plan, request_id=f"t{self._made}", **fields)
        return str(result.task.name)

    async def ended(self, count: int = 1, **fields: Any) -> list[str]:
        names = []
        for _ in range(count):
            names.append(await self.open(**fields))
            await self._suite.run_steps(["echo"])
        return names

    async def cancel(self, name: str, tenant: str = "default") -> None:
        self._made += 1
        await self._suite.call("SteerTask", name=name, action=CANCEL, request_id=f"c{self._made}", tenant=tenant)

    async def retry(self, name: str) -> None:
        self._made += 1
        await self._suite.call("SteerTask", name=name, action=RETRY, request_id=f"c{self._made}")


@pytest.fixture
async def tasks(suite) -> Tasks:
    await suite.announce("echo")
    return Tasks(suite)


async def refusal(opened: Stream) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await opened.to_end()
    return caught.value.code(), str(caught.value.details())


async def test_given_ended_tasks_when_streamed_then_those_and_then_new_ones_come_with_outputs(
    suite, tasks, stream
) -> None:
    before = await tasks.ended(3)
    opened = stream()
    assert await opened.names(3) == before
    (after,) = await tasks.ended(plan=TWO)
    (result,) = await opened.results(1)
    assert (result.task.name, result.task.state) == (after, task_pb2.TASK_STATE_SUCCEEDED)
    assert result.task.output.data == b'{"a":{"done":true},"b":{"done":true}}'
    read = await suite.task(after)
    assert result.task == read


async def test_given_skipped_last_steps_when_streamed_then_the_output_is_that_of_a_read(suite, tasks, stream) -> None:
    never = task_pb2.PlanStep(name="never", agent="echo", when=["${a.no}"])
    await tasks.open(plan=task_pb2.Plan(steps=[*TWO.steps, never]))
    await tasks.open(plan=task_pb2.Plan(steps=[TWO.steps[0], never]))
    opened = stream()
    found: list[Any] = []
    async with asyncio.timeout(30):
        while len(found) < 2:
            await suite.run_steps(["echo"])
            found += (await opened.message()).results
    for result in found:
        assert result.task == await suite.task(result.task.name)
    assert sorted(result.task.output.data for result in found) == [b"null", b'{"b":{"done":true},"never":null}']


async def test_given_a_cursor_of_any_result_when_resumed_then_the_stream_goes_on_after_it(suite, tasks, stream) -> None:
    names = await tasks.ended(4)
    results = await stream().results(4)
    for at, result in enumerate(results[:-1]):
        resumed = await stream(cursor=result.cursor).results(3 - at)
        assert [found.task.name for found in resumed] == names[at + 1 :]
    idle = stream(cursor=results[-1].cursor)
    assert list((await idle.message()).results) == []
    (newest,) = await tasks.ended()
    assert await idle.names(1) == [newest]


async def test_given_from_now_when_streamed_then_only_what_ends_later_is_told_also_after_a_break(
    suite, tasks, stream
) -> None:
    await tasks.ended(2)
    opened = stream(from_now=True)
    first = await opened.message()
    assert list(first.results) == []
    opened.close()
    (newest,) = await tasks.ended()
    assert await stream(cursor=first.cursor).names(1) == [newest]


async def test_given_a_filter_when_streamed_then_others_are_passed_over_and_the_cursor_moves_on(
    suite, tasks, stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waybill_dispatcher.results._SILENCE_SECONDS", 0.0)
    wanted = task_pb2.TaskFilter(labels={"team": "red"}, states=[task_pb2.TASK_STATE_SUCCEEDED], template="t")
    opened = stream(filter=wanted)
    assert list((await opened.message()).results) == []
    await tasks.ended()
    passed = await opened.message()
    assert (list(passed.results), bool(passed.cursor)) == ([], True)
    (red,) = await tasks.ended(labels={"team": "red"}, template="t")
    await tasks.cancel(await tasks.open(labels={"team": "red"}, template="t"))
    await suite.run_steps(["echo"])
    (again,) = await tasks.ended(labels={"team": "red"}, template="t")
    assert await opened.names(2) == [red, again]
    assert await stream(filter=wanted, cursor=passed.cursor).names(2) == [red, again]


async def test_given_a_time_range_when_streamed_then_tasks_of_other_times_are_passed_over(suite, tasks, stream) -> None:
    first, second, third = await tasks.ended(3)
    record = await suite.ledger.task(second.removeprefix("tasks/"))
    wanted = task_pb2.TaskFilter()
    wanted.create_time_from.FromMilliseconds(record.created_ms)
    wanted.create_time_until.FromMilliseconds(record.created_ms + 1)
    assert first != second != third
    found = await stream(filter=wanted).names(1)
    assert found == [second]


async def test_given_a_task_of_another_tenant_then_it_is_in_no_stream(suite, tasks, stream) -> None:
    (theirs,) = await tasks.ended(tenant="other")
    (mine,) = await tasks.ended()
    assert await stream().names(1) == [mine]
    assert await stream(tenant="other").names(1) == [theirs]
    assert (await refusal(stream(names=[theirs])))[0] is grpc.StatusCode.NOT_FOUND


async def test_given_a_retried_task_when_it_ends_again_then_it_is_told_again(suite, tasks, stream) -> None:
    name = await tasks.open()
    await tasks.cancel(name)
    await suite.run_steps(["echo"])
    opened = stream()
    (first,) = await opened.results(1)
    await tasks.retry(name)
    await suite.run_steps(["echo"])
    (second,) = await opened.results(1)
    states = [first.task.state, second.task.state]
    assert states == [task_pb2.TASK_STATE_CANCELLED, task_pb2.TASK_STATE_SUCCEEDED]
    assert {first.task.name, second.task.name} == {name}
    assert await stream(cursor=first.cursor).names(1) == [name]


class TestNames:
    async def test_given_named_tasks_when_all_have_ended_then_the_stream_ends(self, suite, tasks, stream) -> None:
        before = await tasks.ended(2)
        await tasks.ended()
        later = await tasks.open()
        opened = stream(names=[later, before[1], before[0], later])
        assert await opened.names(2) == before
        await suite.run_steps(["echo"])
        assert [result.task.name for result in await opened.to_end()] == [later]

    async def test_given_the_cursor_of_any_result_when_resumed_then_the_others_follow(
        self, suite, tasks, stream
    ) -> None:
        names = await tasks.ended(3)
        results = await stream(names=names).to_end()
        assert [result.task.name for result in results] == names
        for at, result in enumerate(results):
            resumed = await stream(names=names, cursor=result.cursor).to_end()
            assert [found.task.name for found in resumed] == names[at + 1 :]

    async def test_given_an_unknown_name_then_it_is_not_found(self, suite, tasks, stream) -> None:
        (name,) = await tasks.ended()
        code, details = await refusal(stream(names=[name, "tasks/0-nowhere"]))
        assert (code, "0-nowhere" in details) == (grpc.StatusCode.NOT_FOUND, True)

    async def test_given_from_now_then_only_later_ends_of_the_named_are_told(self, suite, tasks, stream) -> None:
        (before,) = await tasks.ended()
        later = await tasks.open()
        opened = stream(names=[before, later], from_now=True)
        await opened.message()
        await suite.run_steps(["echo"])
        assert [result.task.name for result in await opened.to_end()] == [later]

    async def test_given_ends_that_no_feed_tells_then_they_are_found_all_the_same(
        self, suite, tasks, stream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("waybill_dispatcher.results._SILENCE_SECONDS", 0.0)
        names = [await tasks.open() for _ in range(3)]
        await tasks.cancel(names[0])
        await suite.store.delete(keys.key("0", "feed", "default"))
        opened = stream(names=names)
        (first,) = await opened.results(1)
        assert first.task.name == names[0]
        await tasks.cancel(names[1])
        await suite.store.delete(keys.key("0", "feed", "default"))
        await suite.run_steps(["echo"])
        rest = await opened.to_end()
        assert {result.task.name for result in rest} == set(names[1:])
        resumed = await stream(names=names, cursor=first.cursor).to_end()
        assert {result.task.name for result in resumed} == set(names[1:])


class TestCursors:
    async def test_given_a_text_that_is_no_cursor_then_it_is_refused(self, suite, tasks, stream) -> None:
        for text in ("x", "cjE6OjA6MDo=x", "ä", "A" * 500):
            code, details = await refusal(stream(cursor=text))
            assert (code, "cursor" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)

    async def test_given_a_store_that_lost_its_data_then_a_cursor_is_unknown(self, suite, tasks, stream) -> None:
        await tasks.ended(2)
        (_, last) = await stream().results(2)
        await suite.store.hset(keys.key("0", "feeds"), "default", "1")
        assert (await refusal(stream(cursor=last.cursor)))[0] is grpc.StatusCode.OUT_OF_RANGE

    async def test_given_results_that_expired_after_a_cursor_then_it_has_expired(self, suite, tasks, stream) -> None:
        await tasks.ended(2)
        first, last = await stream().results(2)
        ids = [result.task.name.removeprefix("tasks/") for result in (first, last)]
        await suite.store.zadd(keys.key("0", "expiry"), dict.fromkeys(ids, 1))
        async with asyncio.timeout(30):
            while await suite.ledger.tasks(ids) != [None, None]:
                await asyncio.sleep(0.05)
        (newest,) = await tasks.ended()
        code, details = await refusal(stream(cursor=first.cursor))
        assert (code, "expired" in details) == (grpc.StatusCode.OUT_OF_RANGE, True)
        assert await stream(cursor=last.cursor).names(1) == [newest]
        assert await stream().names(1) == [newest]


async def test_given_large_outputs_when_streamed_then_messages_are_split(
    suite, tasks, stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends_module, "MESSAGE_BYTES", 2_000)
    names = []
    for _ in range(5):
        names.append(await tasks.open())
        await suite.run_steps(["echo"], b'"' + b"x" * 1_200 + b'"')
    opened = stream()
    sizes = [len((await opened.message()).results) for _ in range(5)]
    assert sizes == [1] * 5
    assert await stream().names(5) == names


async def test_given_outputs_that_are_not_read_with_their_tasks_when_streamed_then_they_come_all_the_same(
    suite, tasks, stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "SMALL_OUTPUT_BYTES", 1_000)
    monkeypatch.setattr(feed_module, "OUTPUTS_A_READ_BYTES", 1_600)
    names = []
    for size in (900, 1_200, 1, 800, 3_000):
        names.append(await tasks.open())
        await suite.run_steps(["echo"], b'"' + b"x" * size + b'"')
    names += await tasks.ended(plan=TWO)
    for opened in (stream(), stream(names=names)):
        results = await opened.results(6)
        assert [result.task for result in results] == [await suite.task(name) for name in names]


async def test_given_more_than_a_page_when_streamed_then_each_comes_once_and_new_ones_follow(
    suite, tasks, stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_module, "RESULTS_A_LOOK", 3)
    names = await tasks.ended(7)
    opened, left = stream(), stream()
    await left.names(1)
    left.close()
    assert await opened.names(7) == names
    names = await tasks.ended(2)
    assert await opened.names(2) == names
