"""Measures Waybill, and its peers beside it: `python bench [--quick] [--only NAME,...] [--systems NAME,...]`.

Each benchmark runs on Waybill first and then on each peer, so that what is compared was measured in one invocation.
Every result is written as soon as it is there. A peer that cannot be installed is named and left out. Exits with 1 if
a measurement failed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import signal
import sys
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
# gRPC tells on stderr of every process that is started beside its threads.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import redis
import uvloop
from benches import BENCHMARKS, BY_NAME, PEERS, Benchmark
from latest import LATEST, merge_results
from measurement import WAYBILL, Measured, Result, Scale, machine, own_versions, say, store_version
from peer_environments import NotInstalled, Peer, known_peers
from peer_runs import Inapplicable, PeerFailed, measure_peer
from peer_store import store_server
from table import table

QUICK_PEERS = ("docket", "restate", "ray")
QUICK_RUNS = 1
RUNS = 3
MEASURE_SECONDS = 1_800.0
"""Whatever takes longer hangs: filling a store with a million tasks takes minutes."""


@dataclass
class Invocation:
    """One run of this program: what it found, and what went wrong."""

    path: Path
    scale: Scale
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    found: list[Result] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def waybill(self, benchmark: Benchmark) -> None:
        """Measure Waybill, and what the benchmark itself holds it against."""
        say(f"{benchmark.name}: waybill")
        try:
            module = importlib.import_module(benchmark.name)
            measured = uvloop.run(asyncio.wait_for(module.measure(self.scale), MEASURE_SECONDS))
            self._keep(benchmark, measured, own_versions())
        except Exception as error:
            traceback.print_exc()
            self.problems.append(f"{benchmark.name} on waybill: {error!r}")

    def peer(self, benchmark: Benchmark, peer: Peer, store_url: str) -> None:
        """Measure a peer."""
        say(f"{benchmark.name}: {peer.name}")
        with redis.Redis.from_url(store_url, protocol=2) as store:
            versions = {"store": store_version(store), "machine": machine()}
        try:
            self._keep(benchmark, [measure_peer(peer, benchmark.name, store_url, self.scale.runs)], versions)
        except Inapplicable as error:
            say(f"{benchmark.name}: {peer.name} has no such thing: {error}")
        except PeerFailed as error:
            self.problems.append(f"{benchmark.name} on {peer.name} {error}")

    def _keep(self, benchmark: Benchmark, measured: Sequence[Measured], versions: Mapping[str, str]) -> None:
        results = [Result.of(benchmark.name, one, versions, self.id, self.time) for one in measured]
        self.found += results
        merge_results(self.path, results)


def installed(peers: Sequence[Peer], absent: list[str]) -> Iterator[Peer]:
    """The peers that could be installed; of the others it is told why not."""
    for peer in peers:
        try:
            peer.install()
        except NotInstalled as error:
            absent.append(f"{peer.name} could not be installed: {error}")
        else:
            yield peer


def run(arguments: argparse.Namespace) -> int:
    """Measure what the arguments ask for, print the table, and say what went wrong."""
    chosen = [benchmark for benchmark in BENCHMARKS if _chosen(benchmark, arguments)]
    invocation = Invocation(arguments.results, Scale(arguments.runs or (QUICK_RUNS if arguments.quick else RUNS)))
    wanted = arguments.systems or (QUICK_PEERS if arguments.quick else None)
    compared = any(benchmark.rival == PEERS for benchmark in chosen)
    asked = [peer for peer in known_peers() if wanted is None or peer.name in wanted] if compared else []
    peers = list(installed(asked, invocation.absent))
    for benchmark in chosen:
        if arguments.systems is None or WAYBILL in arguments.systems:
            invocation.waybill(benchmark)
        for peer in peers if benchmark.rival == PEERS else ():
            with store_server() as url:
                invocation.peer(benchmark, peer, url)
    print(table(invocation.found))
    for problem in (*invocation.absent, *invocation.problems):
        print(f"not measured: {problem}")
    return 1 if invocation.problems else 0


def _chosen(benchmark: Benchmark, arguments: argparse.Namespace) -> bool:
    return benchmark.name in arguments.only if arguments.only else benchmark.quick or not arguments.quick


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _benchmarks(text: str) -> list[str]:
    names = _names(text)
    for name in names:
        if name not in BY_NAME:
            raise argparse.ArgumentTypeError(f"{name} is no benchmark: there are {', '.join(BY_NAME)}")
    return names


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first five, against three peers, one run each")
    parser.add_argument("--only", type=_benchmarks, default=[], metavar="NAME,...", help="only these benchmarks")
    parser.add_argument("--systems", type=_names, metavar="NAME,...", help="only waybill or these peers")
    parser.add_argument("--runs", type=int, help=f"runs of each, {RUNS} by default, {QUICK_RUNS} with --quick")
    parser.add_argument("--results", type=Path, default=LATEST, help="the file that results are merged into")
    arguments = parser.parse_args()
    # Whoever ends us means what Ctrl-C means: everything that was started is stopped first.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    for name in [name for name in os.environ if name.startswith("WAYBILL_")]:
        say(f"{name} is left out: settings are at their defaults")
        del os.environ[name]
    try:
        return run(arguments)
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
