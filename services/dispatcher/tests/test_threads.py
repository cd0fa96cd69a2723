"""Threads for calls that can hang: results and errors come back, and a call that hangs holds nobody up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from waybill_dispatcher.threads import Threads


async def test_results_and_errors_come_back_to_whoever_asked() -> None:
    threads = Threads(2, "test")
    assert await asyncio.gather(*(threads.run(lambda at=at: at * at) for at in range(20))) == [n * n for n in range(20)]
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    threads.close()


async def test_no_more_calls_are_made_at_once_than_there_are_threads() -> None:
    threads = Threads(3, "test")
    together = threading.Barrier(3)
    calls = [asyncio.create_task(threads.run(together.wait)) for _ in range(6)]
    assert sorted(await asyncio.gather(*calls)) == [0, 0, 1, 1, 2, 2]
    threads.close()


async def test_given_a_caller_who_gave_up_before_a_thread_was_free_then_its_call_is_not_made() -> None:
    threads = Threads(1, "test")
    go, made = threading.Event(), []
    busy = asyncio.create_task(threads.run(go.wait))
    given_up = asyncio.create_task(threads.run(lambda: made.append("given up")))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    go.set()
    assert await busy
    await threads.run(lambda: made.append("next"))
    assert made == ["next"]
    threads.close()


HANGS = """
import asyncio, threading
from waybill_dispatcher.threads import Threads
async def main():
    asyncio.create_task(Threads(1, "test").run(threading.Event().wait))
    await asyncio.sleep(0.1)
asyncio.run(main())
print("ended")
"""


def test_given_a_call_that_hangs_then_the_process_ends_all_the_same() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "ended\n"), ended.stderr
