"""Processes of a benchmark's own that are asked by a line of stdin and answer with a line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from peer_store import launched_by_me

HERE = Path(__file__).resolve().parent


class Answerer:
    """A process that has started and printed its first line, which is `greeting`."""

    def __init__(self, process: asyncio.subprocess.Process, greeting: str) -> None:
        self.greeting = greeting
        self.pid = process.pid
        self._process = process

    async def ask(self, line: str) -> dict[str, float]:
        """Its answer. Raises `RuntimeError` if it has ended; what went wrong is on stderr then."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        answer: dict[str, float] = json.loads(await read_line(self._process))
        return answer


async def read_line(process: asyncio.subprocess.Process) -> str:
    """The next line that a process prints. Raises `RuntimeError` if it has ended."""
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    if not line:
        raise RuntimeError("a process of the benchmark ended")
    return line.strip()


@asynccontextmanager
async def answering(script: str, *arguments: str) -> AsyncIterator[Answerer]:
    """Start a script of this folder and wait for its first line; it is killed at the end, and if this process dies."""
    process = await asyncio.create_subprocess_exec(
        *(*launched_by_me(), sys.executable, str(HERE / script), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Answerer(process, await read_line(process))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
