"""One process under test: started, killed, stopped and started again at will; it never outlives the campaign."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from waybill.cli import launcher

GRACE_SECONDS = 10.0
"""How long a process that was asked to end may take before it is killed."""
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class ProcessSpec:
    """What to run. `kind` is one of the five kinds; `ready` tells whether the process does its work."""

    kind: str
    name: str
    command: tuple[str, ...]
    ready: Callable[[], Awaitable[bool]]
    environment: Mapping[str, str] = field(default_factory=dict)


class Process:
    """A `ProcessSpec`, whatever its present incarnation. `wanted` is whether it should run: if it does not, nobody of
    the campaign has ended it. `busy` is held by whoever ends it to start it again."""

    def __init__(self, spec: ProcessSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.wanted = False
        self.paused = False
        self.busy = asyncio.Lock()
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """Of the last incarnation; 0 before the first."""
        return 0 if self._popen is None else self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """How the last incarnation ended; None if it runs."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Start a new incarnation if none runs. The kernel kills it with the campaign, however that ends."""
        if self.running:
            return
        command = (sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *self.spec.command)
        with self.log.open("ab") as log:
            log.write(f"--- started at {time.time():.3f}\n".encode())
            self._popen = subprocess.Popen(
                command,
                env={**os.environ, **self.spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wanted, self.paused = True, False

    async def kill(self) -> bool:
        """kill -9, the process alone: what it has started must notice by itself. False if it did not run."""
        self.wanted = False
        return await self._end(signal.SIGKILL)

    async def terminate(self) -> bool:
        """SIGTERM; killed when it takes too long. False if it had to be killed, or did not run."""
        self.wanted = False
        self.resume()
        return await self._end(signal.SIGTERM)

    def pause(self) -> bool:
        """SIGSTOP. False if it does not run."""
        self.paused = self._signal(signal.SIGSTOP)
        return self.paused

    def resume(self) -> None:
        """SIGCONT, if it was paused."""
        if self.paused:
            self.paused = False
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> bool:
        if self._popen is None or self._popen.poll() is not None:
            return False
        self._popen.send_signal(number)
        return True

    async def _end(self, number: signal.Signals) -> bool:
        if not self._signal(number):
            return False
        if await self._gone(GRACE_SECONDS):
            return True
        self._signal(signal.SIGKILL)
        await self._gone(GRACE_SECONDS)
        return False

    async def _gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.running:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True
