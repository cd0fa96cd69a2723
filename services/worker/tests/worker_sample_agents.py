"""Agents that behave and misbehave, for the worker's tests. Loaded by name, in the worker and in its processes."""

import asyncio
import contextlib
import contextvars
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from waybill import NOT_DONE, Context, agent
from waybill.errors import AgentError, EffectUnknown, Permanent
from waybill.telemetry import tracing


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
def meeting(folder: str, name: str, other: str) -> int:
    """Compute until the other one does; how often it has looked."""
    Path(folder, name).touch()
    looks = 1
    while not Path(folder, other).exists():
        looks += sum(1 for _ in range(10_000)) // 10_000
    return looks


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


def _charge(note: str, wait: str = "") -> int:
    """Write down that it was done; how often that was. With `wait` for good after the first time, until that exists."""
    with Path(note).open("a") as book:
        book.write("charged\n")
    count = len(Path(note).read_text().splitlines())
    while wait and count == 1 and not Path(wait).exists():
        time.sleep(0.01)
    return count


async def _charge_later(note: str, wait: str = "") -> int:
    count = _charge(note)
    while wait and count == 1 and not Path(wait).exists():
        await asyncio.sleep(0.01)
    return count


def _look_up(ctx: Context, key: str) -> Any:
    """The charges written down where the key says."""
    try:
        return len(Path(key).read_text().splitlines())
    except FileNotFoundError:
        return NOT_DONE


@agent
async def buyer(ctx: Context, note: str, wait: str = "", fail: int = 0) -> int:
    """Charge once, then fail as many attempts as told."""
    charged = await ctx.once("charge", lambda: _charge_later(note, wait))
    if ctx.attempt <= fail:
        raise AgentError("not yet")
    return int(charged)


@agent
def buyer_in_process(ctx: Context, note: str, wait: str = "", fail: int = 0) -> int:
    """Charge once in a process, then fail as many attempts as told."""
    charged = ctx.once("charge", lambda: _charge(note, wait))
    if ctx.attempt <= fail:
        raise AgentError("not yet")
    return int(charged)


@agent(isolation="thread")
def buyer_in_thread(ctx: Context, note: str, wait: str = "", fail: int = 0) -> int:
    """Charge once in a thread, then fail as many attempts as told."""
    charged = ctx.once("charge", lambda: _charge(note, wait))
    if ctx.attempt <= fail:
        raise AgentError("not yet")
    return int(charged)


@agent(reconcile=_look_up)
async def prudent(ctx: Context, note: str, wait: str = "") -> int:
    """Charge once, under the place where charges are written down as the key."""
    return int(await ctx.once(note, lambda: _charge_later(note, wait)))


@agent(reconcile=_look_up)
def prudent_in_process(ctx: Context, note: str, wait: str = "") -> int:
    """The same in a process."""
    return int(ctx.once(note, lambda: _charge(note, wait)))


@agent
async def doubtful(ctx: Context) -> None:
    """Do something of which nobody knows whether it is done."""

    def lose() -> None:
        raise EffectUnknown("the connection broke")

    await ctx.once("call", lose)


@agent
def whereabouts(ctx: Context) -> list[int]:
    """The ids of the process and its parent."""
    ctx.progress(str(os.getpid()))
    return [os.getpid(), os.getppid()]


@agent
async def whereabouts_async(ctx: Context) -> list[int]:
    """The same, and all there is to report."""
    ctx.progress("here")
    ctx.text("I am ")
    ctx.text("here")
    ctx.spend(input_tokens=1)
    names = [document.name for document in await ctx.documents()]
    await ctx.once("say", lambda: names)
    return [os.getpid(), os.getppid()]


@agent(isolation="thread")
def whereabouts_in_thread(ctx: Context) -> list[int]:
    """The ids of the process and its parent."""
    return [os.getpid(), os.getppid()]


@agent
async def killer(ctx: Context) -> None:
    """Kill whatever process this runs in."""
    os.kill(os.getpid(), signal.SIGKILL)


@agent
async def later(seconds: float) -> None:
    """Ask for another attempt after so many seconds."""
    raise AgentError("busy", retry_after_seconds=seconds)


@agent
def later_in_process(seconds: float) -> None:
    """The same in a process."""
    raise AgentError("busy", retry_after_seconds=seconds)


@agent
async def stuck() -> None:
    """Hold the loop of the worker."""
    time.sleep(3600)


_remembered: contextvars.ContextVar[str] = contextvars.ContextVar("_remembered", default="nothing")


@agent
async def remembering(value: str, turns: int = 0) -> list[str]:
    """What the context held before, and holds after some turns of the loop, once the value was put there."""
    before = _remembered.get()
    _remembered.set(value)
    for _ in range(turns):
        await asyncio.sleep(0)
    return [before, _remembered.get()]


@agent
async def hasty(seconds: float = 0.01) -> None:
    """Wait for longer than it allows itself."""
    async with asyncio.timeout(seconds):
        await asyncio.sleep(3600)


@agent
async def traced() -> str:
    """The trace that it belongs to."""
    return tracing.current_traceparent()


@agent
async def holding(milliseconds: int) -> None:
    """Hold the loop."""
    time.sleep(milliseconds / 1000)
