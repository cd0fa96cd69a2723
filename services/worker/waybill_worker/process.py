"""One process that runs plain agents, as the worker sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket

import msgspec

from waybill.core.task import Failure
from waybill.invocation import Result
from waybill.ledger.records import Outcome
from waybill_worker import frames
from waybill_worker.answers import Answers
from waybill_worker.context import AttemptContext

EXIT_WAIT_SECONDS = 2.0


class AgentProcess:
    """Runs one attempt at a time. `exited` holds the exit code once it has ended, None if nobody can tell."""

    def __init__(
        self,
        pid: int,
        exited: asyncio.Future[int | None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.pid = pid
        self.exited = exited
        self._reader = reader
        self._writer = writer
        # The socket alone would not tell: what the agent forked may hold it open.
        exited.add_done_callback(lambda _: self._writer.transport.abort())

    @classmethod
    async def connect(cls, connection: socket.socket, pid: int, exited: asyncio.Future[int | None]) -> AgentProcess:
        """The process `pid`, which holds the other end of `connection`."""
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        return cls(pid, exited, reader, writer)

    @property
    def alive(self) -> bool:
        """Whether it can run an attempt."""
        return not self.exited.done() and not self._writer.transport.is_closing()

    async def run(self, run: frames.Run, context: AttemptContext) -> Result:
        """Run one attempt: DIED if the process ends before the agent has returned."""
        answers = Answers(context, self._writer)
        try:
            self._writer.write(frames.encode(run))
            while True:
                message = frames.from_process.decode(await frames.read(self._reader))
                if isinstance(message, frames.Done):
                    return _result(message)
                self._hear(message, context, answers)
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            self.kill()
            message = f"the process that ran agent {run.agent} died: {await self._cause()}"
            return Result(Outcome.DIED, failure=Failure("PROCESS_DIED", message))
        finally:
            answers.close()

    def ask_to_stop(self) -> None:
        """Set `Context.cancelled` in the process."""
        if self.alive:
            self._writer.write(frames.encode(frames.Cancel()))

    def kill(self) -> None:
        """End the process and what it has started, at once."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._writer.transport.abort()

    def _hear(
        self,
        message: frames.Report | frames.Question,
        context: AttemptContext,
        answers: Answers,
    ) -> None:
        match message:
            case frames.Progress(text, fraction):
                context.progress(text, fraction)
            case frames.Text(text):
                context.text(text)
            case frames.Spend(usage):
                context.add_usage(usage)
            case frames.StepAdded(added):
                context.added.add(added)
            case frames.GivenUp(id):
                answers.give_up(id)
            case question:
                answers.give(question)

    async def _cause(self) -> str:
        await asyncio.wait([self.exited], timeout=EXIT_WAIT_SECONDS)
        code = self.exited.result() if self.exited.done() else None
        if code is None:
            return "it could not be asked why"
        if code >= 0:
            return f"exit code {code}"
        known = -code in signal.Signals.__members__.values()
        return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"


def _result(done: frames.Done) -> Result:
    failure = None if done.outcome is Outcome.SUCCEEDED else Failure(done.reason, done.message)
    return Result(done.outcome, done.output, failure, done.retry_after_ms)
