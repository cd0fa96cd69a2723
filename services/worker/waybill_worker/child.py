"""What a forked process does: run agents, one attempt after the other, for the worker at the other end."""

from __future__ import annotations

import asyncio
import os
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Mapping

from opentelemetry import context as otel_context

from waybill.agent import AgentDefinition
from waybill.core.task import Failure
from waybill.invocation import Result, call, call_async
from waybill.ledger.records import Outcome
from waybill.telemetry import tracing
from waybill_worker import frames, guard
from waybill_worker.process_context import ProcessContext


class Connection:
    """This process's end of its socket. A thread reads it, so that a cancellation gets through while an agent runs."""

    def __init__(self, connection: socket.socket, agents: Mapping[str, AgentDefinition]) -> None:
        self._socket = connection
        self._agents = agents
        self._owner = os.getpid()
        self._sending = threading.Lock()
        self._runs: queue.SimpleQueue[tuple[frames.Run, ProcessContext]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="worker-connection", daemon=True).start()

    def send(self, message: frames.FromProcess) -> None:
        """Send one frame, unless an agent forked this process; ends the process if the worker is gone."""
        if self.inherited:
            return  # two processes on one socket would garble each other's frames
        data = frames.encode(message)
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError:
            os._exit(0)

    @property
    def inherited(self) -> bool:
        """Whether this process was forked from the one that the connection belongs to."""
        return os.getpid() != self._owner

    def next_run(self) -> tuple[frames.Run, ProcessContext]:
        """The next attempt, when it comes."""
        return self._runs.get()

    def _listen(self) -> None:
        current: ProcessContext | None = None
        try:
            while True:
                message = frames.to_process.decode(frames.receive(self._socket))
                if isinstance(message, frames.Run):
                    definition = self._agents.get(message.agent)
                    current = ProcessContext(message, self.send, definition.reconcile if definition else None)
                    self._runs.put((message, current))
                elif isinstance(message, frames.Cancel):
                    if current is not None:
                        current.cancel()
                elif current is not None:
                    current.hear(message)
        except (OSError, EOFError):
            os._exit(0)  # the worker is gone, or has no more use for this process
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # an agent that nobody hears any more would wait for ever


def serve(connection: socket.socket, agents: Mapping[str, AgentDefinition]) -> None:
    """Run attempts until the worker hangs up. An agent that exits ends the process, and so its attempt."""
    worker = Connection(connection, agents)
    while True:
        run, context = worker.next_run()
        result = _run(agents[run.agent], run, context)
        if worker.inherited:
            os._exit(0)  # an agent forked, and let the new process return
        context.end()
        sys.stdout.flush()
        failure = result.failure
        worker.send(
            frames.Done(
                result.outcome,
                result.output,
                failure.reason if failure else "",
                failure.message if failure else "",
                result.retry_after_ms,
            )
        )


def _run(definition: AgentDefinition, run: frames.Run, context: ProcessContext) -> Result:
    token = otel_context.attach(tracing.context_from(run.traceparent))
    try:
        if definition.is_async:
            return asyncio.run(_run_async(definition, run, context))
        return call(definition, context, run.input)
    finally:
        otel_context.detach(token)


async def _run_async(definition: AgentDefinition, run: frames.Run, context: ProcessContext) -> Result:
    """Run an async agent, which is interrupted when its attempt is cancelled."""
    loop = asyncio.get_running_loop()
    guard.install(loop)
    running = loop.create_task(call_async(definition, context, run.input))
    context.on_cancel(lambda: loop.call_soon_threadsafe(running.cancel))
    try:
        return await running
    except asyncio.CancelledError:
        return Result(Outcome.FAILED, failure=Failure("AGENT_ERROR", "CancelledError"))
    finally:
        context.on_cancel(lambda: None)
