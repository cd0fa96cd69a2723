"""Owns `waybill up`: the suite as a foreground process, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from waybill.cli import exits
from waybill.cli.datadir import DataDirectory
from waybill.cli.ports import require_free
from waybill.cli.running import run_suite
from waybill.cli.suite import READY_TIMEOUT_SECONDS, REDIS_URL_VARIABLE, Suite, SuiteOptions
from waybill.cli.supervisor import Supervisor


async def up(options: SuiteOptions, data_path: Path) -> int:
    """Run the suite until SIGINT, SIGTERM or SIGHUP, which is how it ends well: exit code 0.

    Raises `InvalidArgument` for a port in use, `FailedPrecondition` for a data directory in use, `Unavailable` if
    the suite does not become ready.
    """
    with DataDirectory(data_path) as data:
        for port, option in ((options.grpc_port, "--grpc-port"), (options.http_port, "--http-port")):
            if port:
                require_free(port, option)

        async def serve(suite: Suite, supervisor: Supervisor) -> int:
            await supervisor.ready(READY_TIMEOUT_SECONDS)
            _announce(suite, data)
            await asyncio.Event().wait()
            return exits.OK

        await run_suite(options, data, serve)
    exits.say("stopped")
    return exits.OK


def _announce(suite: Suite, data: DataDirectory) -> None:
    store = os.environ.get(REDIS_URL_VARIABLE) and f"the Redis of {REDIS_URL_VARIABLE}"
    lines = [
        "Waybill is up; Ctrl-C stops it.",
        f"  gRPC   {suite.grpc_address}",
        f"  HTTP   {suite.http_address}",
        f"  store  {store or data.store}",
        f"  logs   {data.logs}",
    ]
    print("\n".join(lines), flush=True)
