"""Owns one supervised process: started, started again whenever it dies, stopped when asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from waybill.cli import launcher
from waybill.cli.datadir import start_log

FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0
QUICK_DEATH_SECONDS = 5.0
"""A process that lives shorter than this died at once."""
QUICK_DEATHS = 5
"""So many such deaths in a row are a breakdown, not an accident."""
_REAP_TRIES = 100
_REAP_SECONDS = 0.01


async def always_ready() -> bool:
    """The probe of a process that is ready as soon as it runs."""
    return True


@dataclass(frozen=True)
class ChildSpec:
    """What to run and how to treat it.

    `command` starts with an absolute path; `environment` comes on top of the supervisor's own, of which variables that
    begin with one of `withheld` are left out. Children of a lower
    `stop_stage` are stopped first, those of one stage together. `probe` says whether the process does its work,
    `answers` whether it says anything at all: one that does not for long is replaced.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    stop_stage: int = 0
    stop_grace_seconds: float = 8.0
    probe: Callable[[], Awaitable[bool]] = always_ready
    answers: Callable[[], Awaitable[bool]] | None = None
    inherited_fds: tuple[int, ...] = ()

    def given(self, own: Mapping[str, str]) -> dict[str, str]:
        """The environment that it runs in, where the supervisor has `own`."""
        kept = {name: value for name, value in own.items() if not name.startswith(self.withheld)}
        return {**kept, **self.environment}


@dataclass(frozen=True)
class Death:
    """A child ended although nobody asked it to. `in_a_row` counts the quick deaths up to this one."""

    spec: ChildSpec
    code: int
    in_a_row: int
    backoff_seconds: float
    log: Path

    @property
    def cause(self) -> str:
        """How it ended, in words."""
        if self.code >= 0:
            return f"exit code {self.code}"
        known = -self.code in signal.Signals.__members__.values()
        return f"killed by {signal.Signals(-self.code).name if known else f'signal {-self.code}'}"

    @property
    def breakdown(self) -> bool:
        """Whether it keeps dying at once."""
        return self.in_a_row >= QUICK_DEATHS


class Child:
    """The process of a `ChildSpec`, whatever its present incarnation. `supervise` owns it; the rest are wishes."""

    def __init__(self, spec: ChildSpec, log: Path, on_death: Callable[[Death], None]) -> None:
        self.spec = spec
        self.log = log
        self.pid: int | None = None
        self.ready = False
        self._on_death = on_death
        self._stop_wanted = asyncio.Event()
        self._kill_wanted = asyncio.Event()
        self._gone = asyncio.Event()

    async def supervise(self) -> None:
        """Keep the process running until told to stop; returns when it has gone for good."""
        try:
            start_log(self.log)
            await self._keep_running()
        finally:
            self._gone.set()

    async def _keep_running(self) -> None:
        quick_deaths = 0
        while not self._stop_wanted.is_set():
            started = time.monotonic()
            code = await self._run_once()
            if self._stop_wanted.is_set():
                return
            quick = time.monotonic() - started < QUICK_DEATH_SECONDS
            quick_deaths = quick_deaths + 1 if quick else 1
            backoff = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** (quick_deaths - 1))
            self._on_death(Death(self.spec, code, quick_deaths, backoff, self.log))
            await _happens(self._stop_wanted, within_seconds=backoff)

    async def _run_once(self) -> int:
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *self.spec.command),
                env=self.spec.given(os.environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=self.spec.inherited_fds,
            )
        self.pid = process.pid
        ending = asyncio.create_task(self._end_when_wanted(process))
        try:
            return await process.wait()
        finally:
            self.pid = None
            ending.cancel()
            await _end_group(process.pid)

    async def _end_when_wanted(self, process: asyncio.subprocess.Process) -> None:
        await self._stop_wanted.wait()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await _happens(self._kill_wanted, within_seconds=self.spec.stop_grace_seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask the process to end, kill it after its grace, and wait until it and all it started have gone."""
        self._stop_wanted.set()
        await self._gone.wait()

    def replace(self) -> None:
        """Kill the process, stuck as it is; another one is started."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """Let no grace pass: the process and all it started are killed, and not started again."""
        self._kill_wanted.set()
        self._stop_wanted.set()


async def _happens(event: asyncio.Event, *, within_seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within_seconds)


async def _end_group(group: int) -> None:
    """Kill what a dead child left behind, and reap as much of it as the system gave to us to reap."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
        for _ in range(_REAP_TRIES):
            _reap(group)
            os.killpg(group, 0)
            await asyncio.sleep(_REAP_SECONDS)


def _reap(group: int) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
