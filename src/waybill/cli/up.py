"""Owns `waybill up`: the suite as a foreground process, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from waybill.cli import exits
from waybill.cli.datadir import DataDirectory
from waybill.cli.gateway import json_line
from waybill.cli.options import GATEWAY
from waybill.cli.ports import require_free
from waybill.cli.project import check_that_it_loads, named_agents, project_agents
from waybill.cli.running import all_ready, run_suite
from waybill.cli.suite import REDIS_URL_VARIABLE, Suite, SuiteOptions
from waybill.cli.supervisor import Supervisor
from waybill.errors import InvalidArgument

_TITLES = {
    "console": "console",
    "http": "HTTP",
    "api_docs": "API docs",
    "grpc": "gRPC",
    "store": "store",
    "logs": "logs",
    "templates": "templates",
    "agents": "agents",
}


async def up(
    options: SuiteOptions, data_path: Path, agents: Sequence[str] | None = None, *, as_json: bool = False
) -> int:
    """Run the suite until SIGINT, SIGTERM or SIGHUP, which is how it ends well: exit code 0.

    `agents` names modules of the user's own; None for those of the project in the working directory.
    Raises `InvalidArgument` for a port in use or a module that is nowhere, `FailedPrecondition` for a data directory in
    use, `Unavailable` if the suite does not become ready.
    """
    own = project_agents(Path.cwd()) if agents is None else named_agents(agents, Path.cwd())
    options = replace(options, agents=own)
    if options.templates is not None and not options.templates.is_dir():
        raise InvalidArgument.of_field("--templates", f"{options.templates} is no folder")
    with DataDirectory(data_path) as data:
        for port, option in ((options.grpc_port, "--grpc-port"), (options.http_port, "--http-port")):
            if port:
                require_free(port, option)

        await check_that_it_loads(own)

        async def serve(suite: Suite, supervisor: Supervisor) -> int:
            await all_ready(supervisor, shown=not as_json)
            _announce(suite, data, options, as_json=as_json)
            await asyncio.Event().wait()
            return exits.OK

        await run_suite(options, data, serve)
    exits.say("stopped")
    return exits.OK


def _announce(suite: Suite, data: DataDirectory, options: SuiteOptions, *, as_json: bool) -> None:
    own = options.agents
    store = os.environ.get(REDIS_URL_VARIABLE) and f"the Redis of {REDIS_URL_VARIABLE}"
    places = {
        "console": suite.http_address,
        "http": f"{suite.http_address}/v1",
        "api_docs": f"{suite.http_address}/docs",
        "grpc": suite.grpc_address,
        "store": store or str(data.store),
        "logs": str(data.logs),
    }
    if options.templates is not None:
        places["templates"] = str(options.templates)
    if own.modules:
        places["agents"] = f"{', '.join(own.modules)} ({own.told_by})"
    if as_json:
        print(json_line({**places, "pid": os.getpid()}), flush=True)
        return
    lines = ["Waybill is up; Ctrl-C stops it.", *(f"  {_TITLES[name]:<9} {place}" for name, place in places.items())]
    if suite.grpc_address != GATEWAY:
        lines += ["Point commands at it:", f"  export WAYBILL_ADDRESS={suite.grpc_address}"]
    print("\n".join(lines), flush=True)
