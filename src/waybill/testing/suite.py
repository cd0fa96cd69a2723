"""A private suite for tests: the store and the four services as real processes, on free ports, until it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waybill.cli import launcher
from waybill.client import Client
from waybill.errors import Unavailable
from waybill.sync_client import SyncClient

STOP_SECONDS = 60.0
"""How long the suite may take to end in order; then it is killed."""
_TOLD_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class PrivateSuite:
    """Where a suite is reached: `address` over gRPC, `http` is the base URL. `folder` has its data and its logs."""

    address: str
    http: str
    folder: Path

    def client(self, **options: Any) -> SyncClient:
        """A client that waits; the options are those of `waybill.SyncClient`."""
        return SyncClient(self.address, **options)

    def async_client(self, **options: Any) -> Client:
        """An async client, to be used as `async with`; the options are those of `waybill.Client`."""
        return Client(self.address, **options)


@contextmanager
def private_suite(
    folder: Path,
    agents: Sequence[str] = (),
    *,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Iterator[PrivateSuite]:
    """A suite with its data in a folder of its own, that runs the agents of these modules besides those that ship; if
    none are named, those that the `pyproject.toml` of the working directory announces.

    Workers find modules where this process does. Settings of the environment that begin with WAYBILL_ do not count, so
    that no test reaches a store or a model by accident; `environment` brings those that shall. If the thread that
    enters this ends, or its process dies, the suite ends too.
    Raises `Unavailable`, with what the suite says, if it does not start.
    """
    with (folder / "suite.log").open("w+") as log:
        process = subprocess.Popen(
            _command(folder, agents, workers),
            env=_environment(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None
            announced = process.stdout.readline()
            if not announced:
                log.seek(0)
                raise Unavailable(f"the suite did not start: {log.read()[-_TOLD_CHARS:]}", reason="SUITE_FAILED")
            places = json.loads(announced)
            yield PrivateSuite(places["grpc"], places["http"].removesuffix("/v1"), folder)
        finally:
            _stop(process)


def _command(folder: Path, agents: Sequence[str], workers: int) -> list[str]:
    started = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid())]  # it does not outlive this process
    up = [sys.executable, "-m", "waybill.cli.main", "up", "--json", "--grpc-port", "0", "--http-port", "0"]
    named = [word for module in agents for word in ("--agents", module)]
    return [*started, *up, "--data-dir", str(folder / "data"), "--workers", str(workers), *named]


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    return {**own, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **given}


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
