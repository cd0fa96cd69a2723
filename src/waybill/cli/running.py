"""Owns the life of a suite in this process: started on a locked data directory, used, stopped in order whatever
happens, signals included."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace

from waybill.cli.bars import bar
from waybill.cli.datadir import DataDirectory, SuiteNote
from waybill.cli.exits import say
from waybill.cli.suite import READY_TIMEOUT_SECONDS, Suite, SuiteOptions, lay_out
from waybill.cli.supervisor import Supervisor

SOURCE_ROOTS_VARIABLE = "WAYBILL_WORKER_SOURCE_ROOTS"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Work = Callable[[Suite, Supervisor], Awaitable[int]]


class StopSignals:
    """The first signal asks for an orderly end, the second for an immediate one."""

    def __init__(self) -> None:
        self.first: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.on_second: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Take the signals over from the process's defaults."""
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._arrived, int(number))

    def _arrived(self, number: int) -> None:
        if self.first.done():
            self.on_second()
        else:
            self.first.set_result(number)


async def run_suite(options: SuiteOptions, data: DataDirectory, work: Work) -> int:
    """Start a suite, let `work` use it, stop it. The exit code of `work`, or 128 + the number of a stop signal.

    What an interrupted suite left unfinished goes on, and may read the sources that were allowed for it.
    Raises what `work` raises.
    """
    signals = StopSignals()
    signals.install()
    options = _continued(options, data.interrupted())
    suite = lay_out(options, data)
    note = SuiteNote(os.getpid(), suite.grpc_address, suite.http_address, options.source_roots or ())
    data.write_note(note)
    async with Supervisor(suite.specs, data.logs, say) as supervisor:
        signals.on_second = supervisor.kill
        code = await _until_signal(work(suite, supervisor), signals)
    data.remove_note()
    return code


async def all_ready(supervisor: Supervisor, *, shown: bool = True) -> None:
    """Wait until the whole suite works, with a bar where somebody watches. Raises `Unavailable` if it does not."""
    with bar("starting the suite", len(supervisor.children), shown=shown) as arrived:
        await supervisor.ready(READY_TIMEOUT_SECONDS, arrived)


async def _until_signal(work: Awaitable[int], signals: StopSignals) -> int:
    working = asyncio.ensure_future(work)
    await asyncio.wait({working, signals.first}, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        return working.result()
    say("stopping (once more to stop at once)")
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return 128 + signals.first.result()


def _continued(options: SuiteOptions, interrupted: SuiteNote | None) -> SuiteOptions:
    if interrupted is None:
        return options
    say(f"continuing what process {interrupted.pid} left unfinished here")
    if not interrupted.source_roots:
        return options
    roots = options.source_roots
    if roots is None:
        roots = tuple(root for root in os.environ.get(SOURCE_ROOTS_VARIABLE, "").split(",") if root)
    return replace(options, source_roots=tuple(dict.fromkeys((*roots, *interrupted.source_roots))))
