"""Services as real processes over a store of their own, for the tests that send them what no client would."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import redis
from free_ports import HOST, free_port
from grpc_health.v1 import health_pb2, health_pb2_grpc
from store_servers import Server, binary_of

from waybill.cli import launcher

KINDS = ("planner", "dispatcher", "worker", "gateway")
SERVICES = {kind: f"waybill.api.v1.{kind.capitalize()}Service" for kind in KINDS}
AGENTS = Path(__file__).parent
START_SECONDS = 60.0
WORST_SECONDS = 60.0
"""Longest that anything may take before a test calls it hung. Nothing is measured."""
_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


@dataclass
class Service:
    """One process of a kind, with a channel to it."""

    kind: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    channel: grpc.Channel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(f"{HOST}:{self.port}", options=_UNLIMITED)

    def serves(self) -> bool:
        """Whether the process lives and says that it serves."""
        assert self.process.poll() is None, f"the {self.kind} ended with {self.process.returncode}:\n{self.tail()}"
        try:
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(self.channel).Check(request, timeout=WORST_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def tail(self) -> str:
        """The end of what the process wrote."""
        return self.log.read_text(errors="replace")[-8_000:]


@dataclass
class Suite:
    """A store and services over it."""

    store: Server
    folder: Path
    services: dict[str, Service] = field(default_factory=dict)
    http: str = ""

    def client(self) -> redis.Redis:
        """A plain client of the store."""
        return self.store.client()

    def assert_serving(self) -> None:
        """Every service lives and says that it serves, at the latest a moment from now."""
        deadline = time.monotonic() + WORST_SECONDS
        for service in self.services.values():
            while not service.serves():
                assert time.monotonic() < deadline, f"the {service.kind} does not serve:\n{service.tail()}"
                time.sleep(0.05)

    def start(self, kind: str) -> Service:
        """Start a service of a kind."""
        port, http_port = free_port(), free_port()
        environment = {
            f"WAYBILL_{kind.upper()}_GRPC_PORT": str(port),
            f"WAYBILL_{kind.upper()}_METRICS_PORT": "0",
            f"WAYBILL_{kind.upper()}_SHUTDOWN_GRACE_SECONDS": "1",
            "WAYBILL_REDIS_URL": self.store.url,
            "WAYBILL_GATEWAY_HTTP_PORT": str(http_port),
            "WAYBILL_WORKER_AGENTS": "fuzz_agents",
            "PYTHONPATH": str(AGENTS),
        }
        for other, target in (("planner", "DISPATCHER"), ("dispatcher", "GATEWAY")):
            if other in self.services:
                environment[f"WAYBILL_{target}_{other.upper()}_ADDRESS"] = f"{HOST}:{self.services[other].port}"
        log = self.folder / f"{kind}.log"
        command = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), sys.executable]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*command, "-m", f"waybill_{kind}"],
                env={**os.environ, **environment},
                stdout=output,
                stderr=output,
            )
        self.services[kind] = Service(kind, process, port, log)
        if kind == "gateway":
            self.http = f"http://{HOST}:{http_port}"
        return self.services[kind]

    def stop(self) -> None:
        """End every process."""
        for service in self.services.values():
            service.channel.close()
            service.process.terminate()
        for service in self.services.values():
            try:
                service.process.wait(20)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()


@contextlib.contextmanager
def running_suite(folder: Path, *kinds: str) -> Iterator[Suite]:
    """A suite of these kinds of services, ready."""
    store = Server(binary_of("embedded"), folder / "store").start()
    suite = Suite(store, folder)
    try:
        for kind in kinds:
            suite.start(kind)
        suite.assert_serving()
        yield suite
    finally:
        suite.stop()
        store.kill()
