"""Owns a set of processes: starts them together, waits until all do their work, restarts what dies, and stops
them in order. Which processes these are is data; `waybill.cli.suite` has Waybill's own."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from waybill.cli.caretaker import LOOK_SECONDS, Caretaker
from waybill.cli.child import Child, ChildSpec, Death
from waybill.cli.datadir import bound_log, log_tail
from waybill.cli.lines import log_line
from waybill.errors import Unavailable

_PROBE_SECONDS = 0.05
_LOG_CHECK_SECONDS = 30.0
_PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """Runs children as a context manager; leaving it stops them all.

    `notify` gets one message for people at a time: restarts, breakdowns.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        logs: Path,
        notify: Callable[[str], None],
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.children = [Child(spec, logs / f"{spec.name}.log", self._on_death) for spec in specs]
        self._notify = notify
        self._look_seconds = look_seconds
        self._supervising: list[asyncio.Task[None]] = []
        self._bounding: asyncio.Task[None] | None = None
        self._caring: asyncio.Task[None] | None = None
        self._broken: asyncio.Future[Death] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._awaited = False

    async def __aenter__(self) -> Supervisor:
        _adopt_orphans(True)
        self._supervising = [asyncio.create_task(child.supervise()) for child in self.children]
        for task in self._supervising:
            task.add_done_callback(self._on_supervision_end)
        self._bounding = asyncio.create_task(self._bound_logs())
        caretaker = Caretaker(self.children, self._notify, look_seconds=self._look_seconds)
        self._caring = asyncio.create_task(caretaker.run())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def ready(self, timeout_seconds: float, arrived: Callable[[str], None] = lambda _name: None) -> None:
        """Wait until every child's probe says yes; `arrived` gets the name of each that does.

        Raises `Unavailable` when one of them keeps dying or the time is over; the message names who and has the
        end of its log.
        """
        probing = asyncio.create_task(self._probe_all(arrived))
        watched: set[asyncio.Future[Any]] = {probing, self._broken}
        self._awaited = True
        try:
            await asyncio.wait(watched, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._awaited = False
            done = probing.done()
            probing.cancel()
        if done:
            return probing.result()
        if self._broken.done():
            raise breakdown(self._broken.result())
        late = [child for child in self.children if not child.ready]
        names = ", ".join(child.spec.name for child in late)
        raise Unavailable(
            f"not ready after {timeout_seconds:g} seconds: {names}\n{_quote(late[0].log)}", reason="SUITE_NOT_READY"
        )

    async def broken(self) -> Death:
        """Wait until a child keeps dying at once. It is tried again all the same."""
        return await asyncio.shield(self._broken)

    async def _probe_all(self, arrived: Callable[[str], None]) -> None:
        await asyncio.gather(*(self._probe(child, arrived) for child in self.children))

    async def _probe(self, child: Child, arrived: Callable[[str], None]) -> None:
        # A loop, because what is waited for happens in another process, which sets no event here.
        while child.pid is None or not await child.spec.probe():  # noqa: ASYNC110
            await asyncio.sleep(_PROBE_SECONDS)
        child.ready = True
        arrived(child.spec.name)

    def _on_death(self, death: Death) -> None:
        if self._stopping:
            return
        if death.breakdown and not self._broken.done():
            self._broken.set_result(death)
        again = f"starting it again in {death.backoff_seconds:.1f} s"
        self._notify(f"{death.spec.name} died ({death.cause}); {again}")
        if death.breakdown:
            told = f"{death.spec.name} has died at once {death.in_a_row} times in a row"
            # Who waits in `ready` gets the log with its error, and needs it once.
            self._notify(told if self._awaited else f"{told}\n{_quote(death.log)}")

    def _on_supervision_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_CHECK_SECONDS)
            for child in self.children:
                bound_log(child.log)

    async def stop(self) -> None:
        """Stop everything, stage by stage, and wait until every process has gone."""
        self._stopping = True
        if self._caring is not None:
            self._caring.cancel()
        for stage in sorted({child.spec.stop_stage for child in self.children}):
            await asyncio.gather(*(child.stop() for child in self.children if child.spec.stop_stage == stage))
        if self._bounding is not None:
            self._bounding.cancel()
        self._broken.cancel()
        _adopt_orphans(False)

    def kill(self) -> None:
        """Kill everything now, without order and grace."""
        self._stopping = True
        for child in self.children:
            child.kill()


def breakdown(death: Death) -> Unavailable:
    """The error for a child that keeps dying, with the end of its log."""
    return Unavailable(
        f"{death.spec.name} dies whenever it is started ({death.cause})\n{_quote(death.log)}",
        reason="SERVICE_BROKEN",
    )


def _quote(log: Path) -> str:
    """The end of a log for people: entries without their tracebacks, and once what every start said anew."""
    said = dict.fromkeys(log_line(line) for line in log_tail(log).splitlines())
    return "\n".join([f"the end of {log}:", *(f"  | {line}" for line in said or ["(it is empty)"])])


def _adopt_orphans(wanted: bool) -> None:
    """Have the kernel hand us what dead children leave behind, so that it can be reaped, or no more; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)
