"""What a forked process does: run plain agents, one attempt after the other, for the worker at the other end."""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from collections.abc import Mapping

from opentelemetry import context as otel_context

from waybill.agent import AgentDefinition, Context
from waybill.core.task import Document
from waybill.errors import AgentError
from waybill.telemetry import tracing
from waybill_worker import frames
from waybill_worker.context import usage_of
from waybill_worker.invocation import Result, call, clean

_Answers = queue.SimpleQueue[frames.Documents]


class ProcessContext(Context):
    """The context of an attempt in a process of its own: every call becomes a frame to the worker."""

    def __init__(self, run: frames.Run, connection: Connection) -> None:
        self.task = run.task
        self.step = run.step
        self.attempt = run.attempt
        self.tenant = run.tenant
        self.deadline = run.deadline
        self.answers: _Answers = queue.SimpleQueue()
        self._connection = connection
        self._cancelled = False
        self._ended = False
        self._asking = threading.Lock()

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was asked to stop; soon after, the process is killed."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask the agent to stop."""
        self._cancelled = True

    def end(self) -> None:
        """Ignore what stray threads of the agent may still report."""
        self._ended = True

    def progress(self, message: str, fraction: float | None = None) -> None:
        """Tell watchers how far the attempt is."""
        self._send(frames.Progress(clean(str(message)), None if fraction is None else float(fraction)))

    def text(self, text: str) -> None:
        """Stream text to watchers."""
        self._send(frames.Text(clean(str(text))))

    def spend(self, *, input_tokens: int = 0, output_tokens: int = 0, cost_microusd: int = 0) -> None:
        """Add to what this attempt used."""
        self._send(frames.Spend(usage_of(input_tokens, output_tokens, cost_microusd)))

    async def documents(self) -> list[Document]:
        """The documents sent with the task. It blocks: in a process of its own there is nobody to wait for."""
        with self._asking:
            self._send(frames.DocumentsWanted())
            answer = self.answers.get()
        if answer.error:
            raise AgentError(answer.error, reason="DOCUMENTS_UNAVAILABLE")
        return [Document(item.name, item.media_type, item.data) for item in answer.documents]

    def _send(self, message: frames.FromProcess) -> None:
        if not self._ended:
            self._connection.send(message)


class Connection:
    """This process's end of its socket. A thread reads it, so that a cancellation gets through while an agent runs."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self._runs: queue.SimpleQueue[tuple[frames.Run, ProcessContext]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="worker-connection", daemon=True).start()

    def send(self, message: frames.FromProcess) -> None:
        """Send one frame; ends the process if the worker is gone."""
        data = frames.encode(message)
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError:
            os._exit(0)

    def next_run(self) -> tuple[frames.Run, ProcessContext]:
        """The next attempt, when it comes."""
        return self._runs.get()

    def _listen(self) -> None:
        current: ProcessContext | None = None
        try:
            while True:
                message = frames.to_process.decode(frames.receive(self._socket))
                if isinstance(message, frames.Run):
                    current = ProcessContext(message, self)
                    self._runs.put((message, current))
                elif current is not None and isinstance(message, frames.Cancel):
                    current.cancel()
                elif current is not None and isinstance(message, frames.Documents):
                    current.answers.put(message)
        except (OSError, EOFError):
            os._exit(0)  # the worker is gone, or has no more use for this process


def serve(connection: socket.socket, agents: Mapping[str, AgentDefinition]) -> None:
    """Run attempts until the worker hangs up. An agent that exits ends the process, and so its attempt."""
    worker = Connection(connection)
    while True:
        run, context = worker.next_run()
        result = _run(agents[run.agent], run, context)
        context.end()
        sys.stdout.flush()
        failure = result.failure
        worker.send(
            frames.Done(
                result.outcome,
                result.output,
                failure.reason if failure else "",
                failure.message if failure else "",
            )
        )


def _run(definition: AgentDefinition, run: frames.Run, context: ProcessContext) -> Result:
    token = otel_context.attach(tracing.context_from(run.traceparent))
    try:
        return call(definition, context, run.input)
    finally:
        otel_context.detach(token)
