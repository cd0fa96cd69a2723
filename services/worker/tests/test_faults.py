"""Worker processes on a real store that are killed, stopped, stuck or cut off in the middle of their steps."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc
from worker_process import Process, StartProcess
from worker_tasks import ended, running, step, steps_of, submit

from waybill.agent import AgentDefinition
from waybill.core.plan import RetryPolicy
from waybill.core.task import EffectState, EventType, StepState, TaskState
from waybill.ledger import keys
from waybill.ledger.ledger import WORKER_TTL_MS, Ledger
from waybill.rpc.watchdog import STUCK_EXIT_CODE

Agents = dict[str, AgentDefinition]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def charges(note: Path) -> int:
    """How often it was charged."""
    return note.read_text().count("charged") if note.exists() else 0


async def charged(note: Path) -> None:
    """Return once it was charged."""
    async with asyncio.timeout(60):
        while not charges(note):
            await asyncio.sleep(0.01)


async def gone(process: Process) -> None:
    """The worker is killed, and seen to be."""
    process.popen.kill()
    await process.exit_code()


@pytest.mark.parametrize("agent", ["buyer", "buyer-in-process"])
async def test_given_a_worker_killed_in_an_effect_when_another_takes_the_step_then_a_person_decides_and_it_goes_on(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents, tmp_path: Path, agent: str
) -> None:
    note = tmp_path / "note"
    task_id = await submit(
        live_ledger, agents, step("buy", agent, {"note": str(note), "wait": str(tmp_path / "never")})
    )
    first = start_process("same")
    await charged(note)
    await gone(first)
    start_process("same")
    task = await ended(live_ledger, task_id)

    assert task.state is TaskState.FAILED
    assert task.failure is not None
    assert (task.failure.reason, charges(note)) == ("EFFECT_UNKNOWN", 1)
    (effect,) = await live_ledger.effects(task_id)
    assert (effect.key, effect.effect.state) == ("charge", EffectState.UNKNOWN)

    await live_ledger.decide_effect(task_id, 1, "charge", EffectState.DONE, b"1")
    await live_ledger.retry(task_id)

    assert (await ended(live_ledger, task_id)).state is TaskState.SUCCEEDED
    assert ((await steps_of(live_ledger, task_id))["buy"].output, charges(note)) == (b"1", 1)


@pytest.mark.parametrize("agent", ["prudent", "prudent-in-process"])
async def test_given_a_worker_killed_in_an_effect_when_the_agent_has_a_hook_then_the_next_attempt_goes_on(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents, tmp_path: Path, agent: str
) -> None:
    note = tmp_path / "note"
    task_id = await submit(
        live_ledger, agents, step("buy", agent, {"note": str(note), "wait": str(tmp_path / "never")})
    )
    first = start_process("same")
    await charged(note)
    await gone(first)
    start_process("same")

    assert (await ended(live_ledger, task_id)).state is TaskState.SUCCEEDED
    record = (await steps_of(live_ledger, task_id))["buy"]
    assert (record.output, record.attempt, record.losses, charges(note)) == (b"1", 2, 1, 1)


async def test_given_an_effect_that_is_done_when_attempts_and_retries_follow_then_it_is_never_repeated(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    start_process()
    task_id = await submit(live_ledger, agents, step("buy", "buyer-in-process", {"note": str(note), "fail": 4}))
    assert (await ended(live_ledger, task_id)).state is TaskState.FAILED

    await live_ledger.retry(task_id)

    assert (await ended(live_ledger, task_id)).state is TaskState.SUCCEEDED
    assert ((await steps_of(live_ledger, task_id))["buy"].attempt, charges(note)) == (5, 1)


async def test_given_a_step_that_kills_its_worker_when_others_take_it_then_it_ends_as_a_dead_letter_and_they_live(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents
) -> None:
    poison = await submit(live_ledger, agents, step("kill", "killer"))
    first = start_process("first")
    assert await first.exit_code() == -signal.SIGKILL
    second = start_process("second")
    healthy = await submit(live_ledger, agents, *(step(f"s{number}", "echo") for number in range(20)))

    assert (await ended(live_ledger, healthy)).state is TaskState.SUCCEEDED
    task = await ended(live_ledger, poison)
    record = (await steps_of(live_ledger, poison))["kill"]

    assert (task.state, record.state) == (TaskState.FAILED, StepState.FAILED)
    assert (record.deaths, record.losses, record.tries) == (3, 1, 0)
    (letter,) = (await live_ledger.dead_letters("default", 10))[0]
    assert (letter.id, letter.failure.reason) == (f"{poison}.1", "PROCESS_DIED")
    assert second.popen.poll() is None


async def test_given_an_input_that_was_damaged_when_a_worker_gets_it_then_it_is_a_dead_letter(
    start_process: StartProcess, live_ledger: Ledger, embedded_url: str, agents: Agents
) -> None:
    task_id = await submit(live_ledger, agents, step("broken", "echo", {"value": 1}))
    with redis.Redis.from_url(embedded_url) as client:
        client.hset(keys.key("0", "task", task_id), "in:1", b"{")
    start_process()

    assert (await ended(live_ledger, task_id)).state is TaskState.FAILED
    (letter,) = (await live_ledger.dead_letters("default", 10))[0]
    assert (letter.task, letter.failure.reason, letter.attempt) == (task_id, "UNDECODABLE", 1)


@pytest.mark.parametrize("agent", ["later", "later-in-process"])
async def test_given_an_agent_that_asks_for_time_when_it_fails_then_the_next_attempt_is_put_off_so_long(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents, agent: str
) -> None:
    policy = RetryPolicy(max_attempts=2, initial_backoff_ms=1, max_backoff_ms=1)
    task_id = await submit(live_ledger, agents, step("ask", agent, {"seconds": 0.6}, retry=policy))
    start_process()
    await ended(live_ledger, task_id)

    delays = [e.delay_ms for e in await live_ledger.events(task_id, 1, 100) if e.type is EventType.STEP_RETRIED]
    assert delays == [600]


async def liveness(record: Any) -> int:
    """What the worker says of itself."""
    async with grpc.aio.insecure_channel(record.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=10)
    return int(reply.status)


async def test_given_a_store_that_stands_still_when_it_goes_on_then_nothing_runs_twice_and_the_worker_has_recovered(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents, stores: Any, embedded_url: str, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    process = start_process(WAYBILL_WORKER_STUCK_SECONDS="3")
    record = await process.record(live_ledger)
    task_id = await submit(
        live_ledger,
        agents,
        step("short", "sleeper", {"seconds": 2.0}),
        step("long", "sleeper", {"seconds": 9.0}),
        step("plain", "pid-of-process", {"words": ["a"]}, after=["short"]),
        step("buy", "buyer", {"note": str(note)}, after=["short"]),
    )
    await running(live_ledger, task_id, "asleep")
    assert await liveness(record) == SERVING
    store = stores.by_url(embedded_url).owner()

    store.pause()
    try:
        seen, until = set(), time.monotonic() + 8
        while time.monotonic() < until:
            seen.add(await liveness(record))
            await asyncio.sleep(0.2)
    finally:
        store.resume()

    assert seen == {SERVING, NOT_SERVING}
    assert (await ended(live_ledger, task_id)).state is TaskState.SUCCEEDED
    assert {name: item.attempt for name, item in (await steps_of(live_ledger, task_id)).items()} == {
        "short": 1,
        "long": 1,
        "plain": 1,
        "buy": 1,
    }
    assert (charges(note), process.popen.poll()) == (1, None)
    async with asyncio.timeout(30):
        while await liveness(record) != SERVING:
            await asyncio.sleep(0.2)


async def test_given_an_async_agent_that_holds_the_loop_when_it_has_been_long_then_the_worker_ends_and_says_where(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents
) -> None:
    task_id = await submit(live_ledger, agents, step("stuck", "stuck", {}))
    process = start_process(WAYBILL_WORKER_STUCK_SECONDS="1")

    assert await process.exit_code() == STUCK_EXIT_CODE

    assert "in stuck" in process.log.read_text()
    await live_ledger.cancel(task_id)
    assert (await ended(live_ledger, task_id)).state is TaskState.CANCELLED


async def test_given_an_async_agent_that_holds_the_loop_for_long_when_it_lets_go_then_nothing_was_taken_away(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents
) -> None:
    process = start_process()
    record = await process.record(live_ledger)
    task_id = await submit(
        live_ledger,
        agents,
        step("waits", "sleeper", {"seconds": 1}),
        step("holds", "holding", {"milliseconds": 3 * WORKER_TTL_MS}),
    )

    task = await ended(live_ledger, task_id)

    assert task.state is TaskState.SUCCEEDED
    assert {item.attempt for item in (await steps_of(live_ledger, task_id)).values()} == {1}
    assert [worker.id for worker in await live_ledger.workers()] == [record.id]
    assert "no longer knows this worker" not in process.log.read_text()


async def test_given_a_worker_that_is_stuck_for_good_when_it_is_ended_then_another_one_takes_its_steps(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents
) -> None:
    task_id = await submit(live_ledger, agents, step("stuck", "stuck", {}), step("waits", "sleeper", {"seconds": 1}))
    first = start_process("first", WAYBILL_WORKER_STUCK_SECONDS="4")
    assert await first.exit_code() == STUCK_EXIT_CODE

    start_process("second")
    async with asyncio.timeout(60):
        while (await steps_of(live_ledger, task_id))["waits"].state is not StepState.SUCCEEDED:
            await asyncio.sleep(0.05)

    await live_ledger.cancel(task_id)
    await ended(live_ledger, task_id)


async def test_given_a_plain_agent_that_takes_long_when_the_worker_is_watched_then_it_lives(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents, tmp_path: Path
) -> None:
    process = start_process(WAYBILL_WORKER_STUCK_SECONDS="3")
    task_id = await submit(live_ledger, agents, step("spin", "spinning", {"note": str(tmp_path / "note")}))
    await running(live_ledger, task_id, "spinning")
    await asyncio.sleep(6)

    assert process.popen.poll() is None
    await live_ledger.cancel(task_id)
    assert (await ended(live_ledger, task_id)).state is TaskState.CANCELLED


async def test_given_a_worker_that_was_stopped_when_it_goes_on_then_it_lives_and_works(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents
) -> None:
    process = start_process(WAYBILL_WORKER_STUCK_SECONDS="3")
    await process.record(live_ledger)
    process.popen.send_signal(signal.SIGSTOP)
    await asyncio.sleep(6)
    process.popen.send_signal(signal.SIGCONT)

    task_id = await submit(live_ledger, agents, step("go", "pid-of-process"))

    assert (await ended(live_ledger, task_id)).state is TaskState.SUCCEEDED
    assert process.popen.poll() is None


@pytest.mark.parametrize("agent", ["buyer", "buyer-in-process"])
async def test_given_an_effect_under_way_when_the_worker_is_drained_then_it_is_unknown_and_never_taken_for_done(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents, tmp_path: Path, agent: str
) -> None:
    note = tmp_path / "note"
    task_id = await submit(
        live_ledger, agents, step("buy", agent, {"note": str(note), "wait": str(tmp_path / "never")})
    )
    process = start_process("first", WAYBILL_WORKER_SHUTDOWN_GRACE_SECONDS="3")
    await charged(note)

    process.popen.send_signal(signal.SIGTERM)

    assert await process.exit_code() == 0
    (effect,) = await live_ledger.effects(task_id)
    assert effect.effect.state is EffectState.UNKNOWN
    start_process("second")
    task = await ended(live_ledger, task_id)
    assert task.failure is not None
    assert (task.failure.reason, charges(note)) == ("EFFECT_UNKNOWN", 1)


async def test_given_an_effect_that_ends_within_the_grace_when_the_worker_is_drained_then_it_is_done(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents, tmp_path: Path
) -> None:
    note, wait = tmp_path / "note", tmp_path / "wait"
    task_id = await submit(live_ledger, agents, step("buy", "buyer", {"note": str(note), "wait": str(wait)}))
    process = start_process(WAYBILL_WORKER_SHUTDOWN_GRACE_SECONDS="20")
    await charged(note)

    process.popen.send_signal(signal.SIGTERM)
    wait.touch()

    assert await process.exit_code() == 0
    assert (await ended(live_ledger, task_id)).state is TaskState.SUCCEEDED
    (effect,) = await live_ledger.effects(task_id)
    assert effect.effect.state is EffectState.DONE


async def test_given_a_suspect_that_runs_when_the_worker_is_drained_then_it_is_handed_back_and_its_process_is_gone(
    start_process: StartProcess, live_ledger: Ledger, agents: Agents
) -> None:
    task_id = await submit(live_ledger, agents, step("wait", "sleeper"))
    first = start_process("same")
    await running(live_ledger, task_id, "asleep")
    await gone(first)
    second = start_process("same", WAYBILL_WORKER_SHUTDOWN_GRACE_SECONDS="2")
    async with asyncio.timeout(60):
        while [e.message for e in await live_ledger.events(task_id, 1, 100)].count("asleep") < 2:
            await asyncio.sleep(0.05)
    family = second.family()
    assert len(family) == 2, "the forker, and the process of the suspect"

    second.popen.send_signal(signal.SIGTERM)

    assert await second.exit_code() == 0
    record = (await steps_of(live_ledger, task_id))["wait"]
    assert (record.state, record.tries, record.deaths, record.losses) == (StepState.READY, 0, 0, 1)
    assert not any(os.path.exists(f"/proc/{child.pid}") for child in family)
