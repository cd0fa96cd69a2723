"""Agents that behave and misbehave, for the worker's tests. Loaded by name, in the worker and in its processes."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from waybill import Context, agent
from waybill.errors import AgentError, Permanent


@agent
async def echo(value: Any = None) -> Any:
    """Return the value."""
    return value


@agent
async def chatty(ctx: Context, words: list[str]) -> int:
    """Stream the words, a turn of the loop between each."""
    for position, word in enumerate(words):
        ctx.text(word)
        ctx.progress("speaking", position / len(words))
        ctx.spend(output_tokens=1)
        await asyncio.sleep(0)
    return len(words)


@agent
async def sleeper(ctx: Context, seconds: float = 3600) -> str:
    """Wait."""
    ctx.progress("asleep")
    await asyncio.sleep(seconds)
    return "awake"


@agent
async def deaf(ctx: Context, times: int) -> None:
    """Ignore so many cancellations."""
    ctx.progress("deaf")
    for _ in range(times):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
    await asyncio.sleep(3600)


@agent
async def blocked(ctx: Context) -> None:
    """Wait for a thread that never ends."""
    ctx.progress("blocked")
    await asyncio.to_thread(time.sleep, 3600)


@agent
async def failing(kind: str) -> None:
    """Fail in one of many ways."""
    if kind == "agent_error":
        raise AgentError("not today")
    if kind == "permanent":
        raise Permanent("never", reason="NEVER")
    if kind == "exception":
        raise LookupError("no such thing")
    if kind == "surrogate":
        raise ValueError("file \udcff")
    if kind == "long":
        raise ValueError("x" * 100_000)
    if kind == "unprintable":
        raise _Unprintable
    if kind == "exit":
        sys.exit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "cancelled":
        raise asyncio.CancelledError
    if kind == "exit_in_task":
        await asyncio.create_task(_exit())


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


async def _exit() -> None:
    sys.exit(3)


@agent
async def documented(ctx: Context) -> list[str]:
    """Name the documents of the task."""
    return [document.name for document in await ctx.documents()]


@agent
def documented_in_process(ctx: Context) -> list[str]:
    """Name the documents of the task, in a process."""
    return [document.name for document in asyncio.run(ctx.documents())]


@agent(isolation="thread")
def documented_in_thread(ctx: Context) -> list[str]:
    """Name the documents of the task, in a thread."""
    return [document.name for document in asyncio.run(ctx.documents())]


@agent
def pid_of_process(ctx: Context, words: list[str] = []) -> int:  # noqa: B006
    """Report the words; return the id of the process."""
    for word in words:
        ctx.text(word)
        ctx.progress(word)
    ctx.spend(input_tokens=2, cost_microusd=5)
    return os.getpid()


@agent(isolation="thread")
def in_thread(ctx: Context, words: list[str], fail: bool = False) -> int:
    """Report the words; return the id of the process."""
    for word in words:
        ctx.text(word)
    ctx.spend(input_tokens=len(words))
    if fail:
        sys.exit("leaving")
    return os.getpid()


@agent
def printing(text: str) -> str:
    """Print in every way there is, then return the text."""
    print(text)
    print(text, file=sys.stderr)
    os.write(1, text.encode())
    subprocess.run(["echo", text], check=True)
    return text


@agent
def dying(ctx: Context, how: str) -> None:
    """End the process."""
    ctx.text("last words")
    if how == "exit":
        sys.exit(3)
    if how == "exit_0":
        os._exit(0)
    if how == "abort":
        os.abort()
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


@agent
def hanging(ctx: Context, note: str = "") -> None:
    """Tell the process id, in a file too if asked, and then hold on for good, deaf to everything."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if note:
        Path(note).write_text(str(os.getpid()))
    ctx.progress(str(os.getpid()))
    while True:
        time.sleep(3600)


@agent
def spinning(ctx: Context, note: str) -> None:
    """Hold the interpreter in a child that itself has a child, and tell both ids."""
    grandchild = subprocess.Popen(["sleep", "3600"])
    Path(note).write_text(f"{os.getpid()} {grandchild.pid}")
    ctx.progress("spinning")
    re.fullmatch(r"(a+)+b", "a" * 60)


@agent
def polite(ctx: Context) -> str:
    """Stop when asked to."""
    ctx.progress(str(os.getpid()))
    while not ctx.cancelled:
        time.sleep(0.01)
    return "stopped by itself"


@agent
def big(size: int) -> str:
    """Return a text of this size."""
    return "x" * size
