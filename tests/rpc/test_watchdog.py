"""A process whose loop is stuck ends; one that is busy outside of it, or was stopped and goes on, does not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from waybill.rpc.watchdog import STUCK_EXIT_CODE

SERVICE = """
import asyncio, re, sys, time
from waybill.rpc.server import ServiceServer, run
from waybill.settings import ServiceSettings

settings = ServiceSettings(stuck_seconds=3.0, shutdown_grace_seconds=0)

async def ready() -> bool:
    return True

def hold_the_loop():
    time.sleep(3600)

def hold_the_interpreter():
    re.fullmatch(r"(a+)+b", "a" * 64)

async def serve():
    server = ServiceServer("trial", settings, ready=ready)
    await server.start([])
    print("serving", flush=True)
    what = (await asyncio.to_thread(sys.stdin.readline)).strip()
    if what == "work in a thread":
        await asyncio.to_thread(time.sleep, 6)
        server.request_stop()
    else:
        globals()[what]()
    await server.run_until_stopped()

run(serve, "trial", settings)
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A service that does on its loop what it reads."""
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    with process:
        assert process.stdout is not None
        while process.stdout.readline() != "serving\n":
            assert process.poll() is None, (tmp_path / "log").read_text()
        yield process
        process.kill()


def tell(service: subprocess.Popen[str], what: str) -> None:
    assert service.stdin is not None
    service.stdin.write(f"{what}\n")
    service.stdin.flush()


def test_given_a_loop_that_is_held_when_it_has_been_long_then_the_process_ends_and_says_where(
    service: subprocess.Popen[str], tmp_path: Path
) -> None:
    tell(service, "hold_the_loop")

    assert service.wait(60) == STUCK_EXIT_CODE
    assert "hold_the_loop" in (tmp_path / "log").read_text()


def test_given_an_interpreter_that_is_held_when_it_has_been_long_then_the_process_ends_and_says_where(
    service: subprocess.Popen[str], tmp_path: Path
) -> None:
    tell(service, "hold_the_interpreter")

    assert service.wait(60) == -signal.SIGVTALRM
    assert "hold_the_interpreter" in (tmp_path / "log").read_text() or "<string>" in (tmp_path / "log").read_text()


def test_given_a_process_that_was_stopped_when_it_goes_on_then_it_lives(service: subprocess.Popen[str]) -> None:
    service.send_signal(signal.SIGSTOP)
    time.sleep(6)
    service.send_signal(signal.SIGCONT)

    tell(service, "work in a thread")
    assert service.wait(60) == 0


def test_given_a_function_in_a_thread_when_it_takes_long_then_the_process_lives(service: subprocess.Popen[str]) -> None:
    tell(service, "work in a thread")

    assert service.wait(60) == 0
