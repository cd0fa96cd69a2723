"""Starts the tests' MCP server (`mcp_servers/server.py`), writes operators' files for it, and counts its effects."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from free_ports import free_port

SERVER = Path(__file__).parent / "mcp_servers" / "server.py"
START_SECONDS = 60


def stdio_entry(effects: Path, *options: str, **settings: Any) -> dict[str, Any]:
    """The entry of an operator's file for a server over stdio. `settings` are further fields of the entry."""
    return {"command": sys.executable, "args": [str(SERVER), "--effects", str(effects), *options], **settings}


def write_config(path: Path, **servers: dict[str, Any]) -> Path:
    """Write an operator's file; where it is."""
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def effects_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """What has really happened, in order: the tool, and what it was called with."""
    if not path.exists():
        return []
    return [(name, arguments) for name, arguments in map(json.loads, path.read_text().splitlines())]


@contextlib.contextmanager
def http_server(effects: Path, *options: str, port: int = 0) -> Iterator[str]:
    """A server over HTTP that runs meanwhile; its URL."""
    port = port or free_port()
    command = [sys.executable, str(SERVER), "--effects", str(effects), "--http", str(port), *options]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _listens(port):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
