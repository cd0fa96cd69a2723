"""Agents that break what they can. Loaded by name, in the worker and in its processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from waybill import Context, agent
from waybill.errors import AgentError


class Rude(BaseException):
    """No `except Exception` stops it."""


class Lying(AgentError):
    """Its attributes are not what they should be."""

    def __init__(self) -> None:
        super().__init__("x")
        self.message = 5  # type: ignore[assignment]
        self.reason = ["not", "text", "\ud800"]  # type: ignore[assignment]
        self.retry_after_seconds = "soon"  # type: ignore[assignment]


class Cursed(AgentError):
    """It cannot even be looked at."""

    @property
    def message(self) -> str:
        raise RuntimeError("no")

    @message.setter
    def message(self, _: str) -> None:
        pass


def _nested() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def _own() -> list[Any]:
    own: list[Any] = []
    own.append(own)
    return own


RETURNS: dict[str, Any] = {
    "object": object,
    "bytes": lambda: b"\xff\xfe",
    "surrogate": lambda: "\ud800",
    "surrogate key": lambda: {"\ud800": 1},
    "function": lambda: print,
    "itself": _own,
    "deep": _nested,
    "large": lambda: ["x" * 1_000_000] * 6,
}
"""What cannot be an output."""


def _fail(how: str) -> NoReturn:
    if how == "rude":
        raise Rude("no")
    if how == "generator exit":
        raise GeneratorExit
    if how == "stop iteration":
        raise StopIteration(1)
    if how == "long reason":
        raise AgentError("x" * 1_000_000, reason="R" * 1_000_000)
    if how == "surrogates":
        raise AgentError("\ud800", reason="\udcff\n\"'")
    if how == "lying":
        raise Lying
    if how == "cursed":
        raise Cursed("x")
    raise MemoryError


FAILURES = ("rude", "generator exit", "stop iteration", "long reason", "surrogates", "lying", "cursed", "memory")


@agent
async def returning(what: str) -> Any:
    """Return what is no JSON."""
    return RETURNS[what]()


@agent
def returning_in_process(what: str) -> Any:
    """The same in a process."""
    return RETURNS[what]()


@agent(isolation="thread")
def returning_in_thread(what: str) -> Any:
    """The same in a thread."""
    return RETURNS[what]()


@agent
async def raising(how: str) -> None:
    """Raise."""
    _fail(how)


@agent
def raising_in_process(how: str) -> None:
    """The same in a process."""
    _fail(how)


@agent(isolation="thread")
def raising_in_thread(how: str) -> None:
    """The same in a thread."""
    _fail(how)


def _shout(ctx: Context, seconds: float) -> None:
    end = time.monotonic() + seconds
    with contextlib.suppress(RuntimeError):  # the worker has ended meanwhile
        while time.monotonic() < end:
            ctx.text("late ")
            ctx.progress("late")
            ctx.spend(input_tokens=1)
            time.sleep(0.001)


@agent
async def leaking(ctx: Context) -> int:
    """Leave threads and tasks behind that go on reporting."""
    threading.Thread(target=_shout, args=(ctx, 1.0), daemon=True).start()
    asyncio.get_running_loop().create_task(asyncio.to_thread(_shout, ctx, 1.0))
    return os.getpid()


@agent
def leaking_in_process(ctx: Context) -> int:
    """Leave threads behind that go on reporting."""
    threading.Thread(target=_shout, args=(ctx, 1.0), daemon=True).start()
    return os.getpid()


@agent(isolation="thread")
def leaking_in_thread(ctx: Context) -> int:
    """The same in a thread."""
    threading.Thread(target=_shout, args=(ctx, 1.0), daemon=True).start()
    return os.getpid()


@agent
def forking(ctx: Context, note: str, how: str) -> list[int]:
    """Go on in two processes: both return, or the new one reports and stays."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0 and how == "stay":
        ctx.text("from the fork")
        time.sleep(3600)
    if pid:
        Path(note).write_text(str(pid))
    if how == "abandon":
        os._exit(3)
    return [parent, os.getpid()]


@agent
def exiting(ctx: Context, how: str) -> None:
    """Leave in a way that is none."""
    if how == "signal":
        os.kill(os.getpid(), signal.SIGRTMIN + 3)
    if how == "close":
        os.closerange(3, 4096)
        ctx.text("hello?")
    if how == "sys.exit":
        sys.exit("\ud800")
    if how == "os._exit":
        os._exit(7)
    if how == "group":
        os.killpg(0, signal.SIGKILL)
    if how == "forker":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(3600)


@agent
def verbose(ctx: Context) -> int:
    """Report enormous things."""
    ctx.progress("x" * 10_000_000, float("nan"))
    ctx.progress("\ud800", float("inf"))
    ctx.text("\ud800" * 100_000)
    ctx.text("x" * 12_000_000)
    return 1


def _flood(ctx: Context) -> None:
    while True:
        ctx.text("x" * 1_000_000)
        ctx.progress("more")


@agent
async def flooding(ctx: Context) -> None:
    """Stream without end."""
    _flood(ctx)


@agent
def flooding_in_process(ctx: Context) -> None:
    """The same in a process."""
    _flood(ctx)


@agent(isolation="thread")
def flooding_in_thread(ctx: Context) -> None:
    """The same in a thread."""
    _flood(ctx)


@agent
def spendthrift(ctx: Context, amount: float) -> int:
    """Report absurd expenses."""
    for _ in range(2_000):
        ctx.spend(input_tokens=10**12)
    ctx.spend(cost_microusd=int(amount) if amount == int(amount) else amount)  # type: ignore[arg-type]
    return 1
