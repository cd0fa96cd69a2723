"""The way to an MCP server that runs as a process: JSON-RPC, one message a line, over its stdin and stdout.

The `mcp` library has such a transport too. This one bounds what a server may send at once, ends a server that hangs
within `CLOSE_SECONDS` and never later, and leaves none behind when the worker dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import PARSE_ERROR, ErrorData, JSONRPCError, JSONRPCRequest, JSONRPCResponse, jsonrpc_message_adapter

from waybill_worker.agents import tools_launcher
from waybill_worker.agents.tools_config import ToolServer

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""Largest message of a server; what is larger is read and dropped."""
CLOSE_SECONDS = 0.7
"""How long a server may take to end once its stdin is closed, and again once it is told by a signal."""
_POLL_SECONDS = 0.01

Incoming = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[Incoming], MemoryObjectSendStream[SessionMessage]]


@contextlib.asynccontextmanager
async def stdio_transport(server: ToolServer, on_end: Callable[[], None]) -> AsyncGenerator[Streams, None]:
    """Start the server's command and speak with it; `on_end` is called when it hangs up.

    Raises OSError if the command's working directory cannot be used.
    """
    process = await _start(server)
    pipe = _Pipe(process, on_end)
    try:
        yield pipe.receiver, pipe.sender
    finally:
        try:
            await _stop(process, pipe)
        finally:
            _signal_group(process, signal.SIGKILL)  # whatever interrupted the polite way
            pipe.close()


async def _start(server: ToolServer) -> Process:
    """The launcher with the command. Should the caller be cancelled meanwhile, nothing is left running."""
    launcher = [sys.executable, "-I", "-S", "-B", str(Path(tools_launcher.__file__)), str(os.getpid())]
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *launcher,
            server.command,
            *server.args,
            stdin=PIPE,
            stdout=PIPE,
            stderr=_stderr(),
            env=get_default_environment() | server.env,
            cwd=server.cwd or None,
            start_new_session=True,
            limit=MAX_MESSAGE_BYTES,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            _signal_group(await starting, signal.SIGKILL)
        raise


class _Pipe:
    """Carries messages between the process and the session, each way in a task of its own."""

    def __init__(self, process: Process, on_end: Callable[[], None]) -> None:
        self._process = process
        self._on_end = on_end
        self._incoming, self.receiver = anyio.create_memory_object_stream[Incoming](0)
        self.sender, self._outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        self._unanswered: set[str | int] = set()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for stream in (self.receiver, self.sender, self._incoming, self._outgoing):
            stream.close()
        # A process that left the group can hold the pipes open: nothing waits for it.
        transport: Any = getattr(self._process, "_transport", None)
        if transport is not None:
            with contextlib.suppress(PermissionError):
                transport.close()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
            while (line := await _line(self._process.stdout)) is not None:
                for message in self._messages(line):
                    await self._incoming.send(message)
        self._on_end()
        self._incoming.close()

    def _messages(self, line: bytes) -> list[Incoming]:
        """What a line says. One that is too long stands for the answers that are still to come."""
        if not line:
            error = ErrorData(code=PARSE_ERROR, message=f"the message is larger than {MAX_MESSAGE_BYTES} bytes")
            unanswered, self._unanswered = self._unanswered, set()
            return [SessionMessage(JSONRPCError(jsonrpc="2.0", id=id, error=error)) for id in unanswered]
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError as error:
            return [error]
        if isinstance(message, JSONRPCResponse | JSONRPCError) and message.id is not None:
            self._unanswered.discard(message.id)
        return [SessionMessage(message)]

    async def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            async for item in self._outgoing:
                if isinstance(item.message, JSONRPCRequest):
                    self._unanswered.add(item.message.id)
                try:
                    self._process.stdin.write(
                        item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
                    )
                    await self._process.stdin.drain()
                except (ConnectionError, RuntimeError, ValueError):
                    break  # it reads no more, so it will answer no more
        self._on_end()
        self._incoming.close()


async def _line(stdout: asyncio.StreamReader) -> bytes | None:
    """The next line; empty for one that was too long; None at the end."""
    too_long = False
    while True:
        try:
            line = await stdout.readuntil()
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError as error:
            too_long = True
            await stdout.readexactly(error.consumed)
        else:
            return b"" if too_long else line


async def _stop(process: Process, pipe: _Pipe) -> None:
    """Hang up, then tell it, then end it, as the protocol asks for."""
    pipe.sender.close()
    if process.stdin is not None:
        process.stdin.close()
    if await _exited(process):
        return
    _signal_group(process, signal.SIGTERM)
    if await _exited(process):
        return
    _signal_group(process, signal.SIGKILL)
    await _exited(process)


async def _exited(process: Process) -> bool:
    """Whether it ends in time. `Process.wait` would wait for whoever else holds its pipes too."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            while process.returncode is None:  # noqa: ASYNC110 - no event tells it without the pipes
                await asyncio.sleep(_POLL_SECONDS)
    return process.returncode is not None


def _signal_group(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _stderr() -> int:
    """What a server writes to stderr goes where the worker's own does, as what agents print."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return DEVNULL
