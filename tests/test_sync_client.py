"""The synchronous client: the same as the async one, for code that waits."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from client_gateway import LAST, Gateway, serving

from waybill import Client, SyncClient
from waybill.core.task import TaskState
from waybill.errors import FailedPrecondition, NotFound, Unavailable
from waybill.resources import Submission
from waybill.telemetry import tracing

ROOT = Path(__file__).parents[1]


@contextmanager
def served(gateway: Gateway) -> Iterator[str]:
    """The address of a gateway that is served from another thread."""
    loop, ready, leave = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    address: list[str] = []

    async def serve() -> None:
        async with serving(gateway) as at:
            address.append(at)
            ready.set()
            await leave.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(30)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(leave.set)
        thread.join(30)
        loop.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_it_has_every_method_of_the_async_client_with_the_same_parameters() -> None:
    for name, member in inspect.getmembers(Client):
        if name.startswith("_"):
            continue
        twin = getattr(SyncClient, name)
        if inspect.isfunction(member):
            assert inspect.signature(twin).parameters == inspect.signature(member).parameters
            assert not inspect.iscoroutinefunction(twin)
            assert not inspect.isasyncgenfunction(twin)
            assert twin.__doc__
            assert "await" not in twin.__doc__
    assert inspect.signature(SyncClient.__init__).parameters == inspect.signature(Client.__init__).parameters


def test_its_types_are_made_from_those_of_the_async_client() -> None:
    script = "import sys; sys.path.insert(0, 'docs/generate'); import sync_stub; print(sync_stub.stub(), end='')"
    ran = subprocess.run([sys.executable, "-B", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == (ROOT / "src" / "waybill" / "sync_client.pyi").read_text()


def test_results_are_those_of_the_async_client() -> None:
    gateway = Gateway()

    async def ask(address: str) -> list[Any]:
        async with Client(address, tenant="acme") as client:
            return [
                await client.submit(goal="g", request_id="r"),
                await client.submit_many([Submission(goal="a"), Submission(goal="b")]),
                await client.get("t1"),
                [task async for task in client.list([TaskState.FAILED])],
                [name async for name in client.retry_many(labels={"a": "b"})],
                [event async for event in client.watch("t1", 3)],
                [progress async for progress in client.progress("t1")],
                await client.attempts("t1", "a"),
                await client.limits(),
                await client.result("t1"),
                client.address,
                client.tenant,
            ]

    def wait(address: str) -> list[Any]:
        with SyncClient(address, tenant="acme") as client:
            return [
                client.submit(goal="g", request_id="r"),
                client.submit_many([Submission(goal="a"), Submission(goal="b")]),
                client.get("t1"),
                list(client.list([TaskState.FAILED])),
                list(client.retry_many(labels={"a": "b"})),
                list(client.watch("t1", 3)),
                list(client.progress("t1")),
                client.attempts("t1", "a"),
                client.limits(),
                client.result("t1"),
                client.address,
                client.tenant,
            ]

    with served(gateway) as address:
        waited = wait(address)
        asked = asyncio.run(ask(address))
    assert repr(waited) == repr(asked)
    assert set(gateway.tenants) == {"acme"}


def test_a_run_is_an_iterator_of_its_events() -> None:
    with served(Gateway()) as address, SyncClient(address) as client:
        with client.run(goal="t1") as run:
            assert run.task.state is TaskState.RUNNING
            assert next(run).sequence == 1
            assert [progress.sequence for progress in run.progress()] == list(range(1, LAST + 1))
            assert run.task.output == run.result() == {"answer": 42}
            assert run.request_id
        assert [event.sequence for event in client.run(goal="t1")] == list(range(1, LAST + 1))
        with client.run(goal="t1") as left:
            pass
        with pytest.raises(FailedPrecondition, match="closed"):
            next(left)


def test_errors_are_those_of_the_async_client() -> None:
    gateway = Gateway()
    gateway.error = NotFound("there is no task tasks/x")
    with served(gateway) as address, SyncClient(address) as client:
        for call in (lambda: client.get("x"), lambda: next(client.watch("x")), lambda: client.run(goal="x").result()):
            with pytest.raises(NotFound, match="tasks/x"):
                call()
    with SyncClient(address, patience_seconds=0.1) as client, pytest.raises(Unavailable):
        client.get("x")


def test_it_works_where_a_loop_runs_as_in_a_notebook() -> None:
    async def cell(address: str) -> Any:
        with SyncClient(address) as client:
            return client.result("t1")

    with served(Gateway()) as address:
        assert asyncio.run(cell(address)) == {"answer": 42}


@pytest.mark.parametrize("how", ["close", "break", "garbage"])
def test_a_stream_that_is_left_early_ends(how: str) -> None:
    gateway = Gateway()
    gateway.holds = True
    with served(gateway) as address, SyncClient(address) as client:
        if how == "close":
            events = client.watch("t1")
            assert next(events).sequence == 1
            events.close()
        elif how == "break":
            for _event in client.watch("t1"):
                break
        else:
            run = client.run(goal="t1")
            next(run)
            del run
            gc.collect()
        until(lambda: gateway.running == 0 and gateway.watching == 0)
        assert client.get("t1").id == "t1"


def test_many_threads_share_one() -> None:
    gateway = Gateway()
    with served(gateway) as address, SyncClient(address) as client, ThreadPoolExecutor(8) as threads:
        goals = [f"g{number}" for number in range(80)]
        tasks = list(threads.map(lambda goal: client.submit(goal=goal), goals))
        watched = list(threads.map(lambda _: [event.sequence for event in client.watch("t1")], range(8)))
    assert [task.id for task in tasks] == goals
    assert watched == [list(range(1, LAST + 1))] * 8


def test_closing_ends_what_other_threads_wait_for() -> None:
    gateway = Gateway()
    gateway.holds = True
    with served(gateway) as address, ThreadPoolExecutor(1) as threads:
        client = SyncClient(address)
        waiting = threads.submit(client.result, "t1")
        until(lambda: gateway.watching == 1)
        client.close()
        with pytest.raises(FailedPrecondition, match="closed"):
            waiting.result(30)
        client.close()
        with pytest.raises(FailedPrecondition, match="closed"):
            client.get("t1")
    assert not [thread for thread in threading.enumerate() if thread.name == "waybill-client"]


def test_a_client_that_is_forgotten_closes_itself() -> None:
    with served(Gateway()) as address:
        SyncClient(address).get("t1")
        gc.collect()
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "waybill-client"])


def test_a_client_that_was_never_used_starts_nothing() -> None:
    SyncClient().close()
    assert not [thread for thread in threading.enumerate() if thread.name == "waybill-client"]


def test_a_client_that_cannot_be_opened_says_so_each_time_and_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Client) -> Client:
        raise OSError("no more descriptors")

    monkeypatch.setattr(Client, "__aenter__", fail)
    with SyncClient() as client:
        for _ in range(2):
            with pytest.raises(OSError, match="no more descriptors"):
                client.get("t1")


def test_calls_belong_to_the_span_they_are_made_in() -> None:
    gateway = Gateway()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    from opentelemetry import context

    with served(gateway) as address, SyncClient(address) as client:
        token = context.attach(tracing.context_from(trace))
        try:
            client.submit(goal="g")
        finally:
            context.detach(token)
    assert [parent.split("-")[1] for parent in gateway.traces] == [trace.split("-")[1]]


def run_script(script: str, address: str, *, interrupt_when: Callable[[], bool] | None = None) -> tuple[int, str]:
    """A user's script in a process of its own; its exit code and what it prints."""
    code = f"from waybill import SyncClient\naddress = {address!r}\n{textwrap.dedent(script)}"
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        if interrupt_when is not None:
            until(interrupt_when)
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output


def test_ctrl_c_interrupts_a_call_and_the_client_goes_on() -> None:
    gateway = Gateway()
    gateway.holds = True
    script = """
        client = SyncClient(address)
        try:
            client.result("t1")
        except KeyboardInterrupt:
            print("interrupted", client.get("t1").id)
        """
    with served(gateway) as address:
        code, output = run_script(script, address, interrupt_when=lambda: gateway.watching == 1)
        until(lambda: gateway.watching == 0)
    assert (code, output) == (0, "interrupted t1\n")


def test_a_script_that_closes_nothing_ends_in_silence() -> None:
    with served(Gateway()) as address:
        assert run_script("client = SyncClient(address)\nprint(next(client.watch('t1')).sequence)", address) == (
            0,
            "1\n",
        )


def test_after_a_fork_the_child_is_told_to_make_its_own() -> None:
    script = """
        import os
        client = SyncClient(address)
        client.get("t1")
        if os.fork() == 0:
            try:
                client.get("t1")
            except Exception as error:
                print("child:", error.reason, str(error).rpartition(": ")[2], flush=True)
            client.close()
            os._exit(0)
        os.wait()
        print("parent:", client.get("t1").id)
        client.close()
        """
    with served(Gateway()) as address:
        code, output = run_script(script, address)
    told = [line for line in output.splitlines() if line.startswith(("child", "parent"))]
    assert code == 0
    assert told == ["child: CLIENT_FORKED make a client in each process", "parent: t1"]
