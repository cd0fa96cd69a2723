"""The campaign: `python -m chaos.campaign --duration 120 --seed 1`, with this package's parent on the path.

Real processes, a mixed load through the gateways, faults of every kind; then everything is healed and drained, and the
whole history is checked. One line of JSON goes to stdout, everything else to stderr. The exit code is 0 only if
nothing that was promised was broken, and 2 if the suite could not be started.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil
import redis.asyncio
import uvloop
from model_server import ModelServer

from chaos import rest, spending
from chaos.checks import Kind, Violation, check, check_list, effects_by_task
from chaos.console import say
from chaos.history import Effect, History, Promise, read_effects
from chaos.injector import KINDS, Injector, schedule
from chaos.load import TENANT, Load
from chaos.report import Report, recoveries
from chaos.suite import Suite, SuiteNotReady
from waybill.client import Client
from waybill.errors import NotFound
from waybill.ledger.ledger import Ledger
from waybill.resources import Task

CLIENTS = 8
PATIENCE_SECONDS = 120.0
CALL_TIMEOUT_SECONDS = 5.0
DRAIN_SECONDS = 120.0
READERS = 16
INTERRUPTED = 130
NOT_READY = 2
_SHOWN = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one campaign; the exit code."""
    parser = argparse.ArgumentParser(description="Run the suite under load and faults, and check what it promised.")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of load and faults (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="decides the load and the faults (default: 1)")
    parser.add_argument("--calm", action="store_true", help="no faults: what the load alone does")
    options = parser.parse_args(arguments)
    if options.duration < 10:
        parser.error("--duration must be at least 10 seconds")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(run(options.seed, options.duration, calm=options.calm))
        except (KeyboardInterrupt, asyncio.CancelledError):
            say("interrupted; everything was stopped")
            return INTERRUPTED
        except SuiteNotReady as error:
            say(f"{error}; everything was stopped")
            return NOT_READY


async def run(seed: int, duration_seconds: float, *, calm: bool = False) -> int:
    """One campaign; 0 if it found nothing wrong."""
    me = asyncio.current_task()
    assert me is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    folder = Path(tempfile.mkdtemp(prefix="waybill-chaos-"))
    say(f"seed {seed}, {duration_seconds:g} s; logs of all processes are in {folder}")
    report = Report(seed, duration_seconds, folder=str(folder))
    try:
        violations = await _campaign(report, folder, calm=calm)
    finally:
        shutil.rmtree(folder / "store", ignore_errors=True)
    report.count_violations(violations)
    for violation in violations[:_SHOWN]:
        say(f"VIOLATION {violation}")
    if len(violations) > _SHOWN:
        say(f"... and {len(violations) - _SHOWN} more")
    (folder / "violations").write_text("".join(f"{violation}\n" for violation in violations))
    missed = [kind for kind in KINDS if not report.kills_by_process[kind]] if not calm else []
    if missed:
        say(f"no {', '.join(missed)} was killed: the campaign proves too little")
    print(report.line(), flush=True)
    return 1 if violations or missed else 0


async def _campaign(report: Report, folder: Path, *, calm: bool) -> list[Violation]:
    async with spending.model_server(report.seed) as models, Suite(folder, models.url) as suite:
        kinds = {name: process.spec.kind for name, process in suite.processes.items()}
        faults = () if calm else schedule(report.seed, report.duration_s, kinds, list(suite.links))
        (folder / "schedule").write_text("".join(f"{fault}\n" for fault in faults))
        injector = Injector(suite)
        async with _clients(suite.target, CLIENTS) as clients:
            load = Load(clients, suite.http_gateways, report.seed, folder)
            say(f"load and {len(faults)} faults")
            async with asyncio.TaskGroup() as group:
                group.create_task(injector.run(faults))
                group.create_task(load.run(report.duration_s))
            say(f"{len(load.promises)} tasks accepted; healing and draining")
            began = time.monotonic()
            suite.heal()
            violations = await _came_back(suite)
            await load.drain(DRAIN_SECONDS)
            report.drain_s = round(time.monotonic() - began, 1)
        say("checking")
        histories = await _histories(suite, load.promises)
        report.count_histories(histories)
        report.count_faults(injector.done, injector.kills)
        report.count_recoveries(recoveries(histories, injector.kills))
        report.self_exits = len(suite.self_exits)
        for self_exit in suite.self_exits:
            say(f"{self_exit.process} ended by itself with {self_exit.code} after {self_exit.at_seconds:.1f} s")
        violations += [violation for history in histories for violation in check(history)]
        violations += check_list(await _listed(suite), load.promises)
        violations += await _money(suite, models, histories, report)
        violations += [Violation(Kind.CLIENT_ERROR, "a client", error) for error in load.errors]
        return violations + await _left_behind(suite)


async def _money(suite: Suite, models: ModelServer, histories: Sequence[History], report: Report) -> list[Violation]:
    """The bill against the accounts, budgets, and what the tool paid."""
    ledger = Ledger(suite.store_url)
    try:
        found = [history.task.name for history in histories if history.task]
        calls = {name: await ledger.calls(name.removeprefix("tasks/")) for name in found}
        spent = await ledger.tenant_budget(TENANT)
    finally:
        await ledger.close()
    paid = spending.payments(suite.folder)
    report.count_money(models.bill, [record for records in calls.values() for record in records], paid)
    violations = [
        *spending.check_bill(models.bill, calls),
        *spending.check_budgets(histories, models.bill),
        *spending.check_payments(histories, paid),
    ]
    if spent.reserved_microusd:
        violations.append(
            Violation(Kind.MONEY, TENANT, f"has {spent.reserved_microusd} micro-dollars reserved at rest")
        )
    return violations


async def _came_back(suite: Suite) -> list[Violation]:
    try:
        await suite.ready()
    except SuiteNotReady as error:
        return [Violation(Kind.LOST, "a process", f"did not come back when all was healed: {error}")]
    return []


@contextlib.asynccontextmanager
async def _clients(target: str, count: int) -> AsyncIterator[list[Client]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                Client(
                    target,
                    tenant=TENANT,
                    patience_seconds=PATIENCE_SECONDS,
                    call_timeout_seconds=CALL_TIMEOUT_SECONDS,
                )
            )
            for _ in range(count)
        ]


async def _listed(suite: Suite) -> list[Task]:
    async with Client(suite.gateways[0], tenant=TENANT) as client:
        return [task async for task in client.list()]


async def _histories(suite: Suite, promises: Sequence[Promise]) -> list[History]:
    """What is stored of every promised task, as the public API shows it."""
    effects = effects_by_task(read_effects(suite.effects))
    slots = asyncio.Semaphore(READERS)
    async with Client(suite.gateways[0], tenant=TENANT) as client:

        async def read(promise: Promise) -> History:
            async with slots:
                return await _history(client, promise, effects.get(promise.task, []))

        return await asyncio.gather(*(read(promise) for promise in promises))


async def _history(client: Client, promise: Promise, effects: Sequence[Effect]) -> History:
    try:
        task = await client.get(promise.task)
        steps = await client.steps(promise.task)
    except NotFound:
        return History(promise, None)
    events = []
    # A task that did not end has no last event to stop at.
    async for event in client.watch(promise.task):
        events.append(event)
        if event.sequence >= task.last_sequence:
            break
    return History(promise, task, steps, events, effects, await client.metrics(promise.task))


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return str(process.pid)


async def _left_behind(suite: Suite) -> list[Violation]:
    """What is left in the store at rest and after expiry, and the processes that dead ones left."""
    store = redis.asyncio.Redis.from_url(suite.store_url)
    try:
        violations = await rest.at_rest(store)
        orphans = await suite.orphans()
        violations += [Violation(Kind.LEAK, "process", f"was left behind: {_command(orphan)}") for orphan in orphans]
        killed = await suite.stop_services()
        violations += [Violation(Kind.LEAK, name, "did not end within its grace") for name in killed]
        orphans = await suite.orphans()
        violations += [
            Violation(Kind.LEAK, "process", f"outlived its worker: {_command(orphan)}") for orphan in orphans
        ]
        return violations + await rest.expired(suite.store_url, store)
    finally:
        await store.aclose()


if __name__ == "__main__":
    sys.exit(main())
