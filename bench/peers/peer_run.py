"""One run of one benchmark on another system: what all `<peer>_peer.py` have in common.

A peer says how it does each kind of work; this module reads the command line, times the work, checks every answer,
and prints one JSON object as the last line of stdout. It surely stops what the peer started, also when the run
fails, takes too long, or is told to stop.

Exit codes: 0 with a figure, 1 when the run failed (the reason is on stderr), 3 if the peer has no such benchmark.
It runs in the environment of the peer, which has none of Waybill: what is not of the standard library is imported late.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import math
import platform
import secrets
import signal
import statistics
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn, TypeVar, cast

from peer_processes import Processes, RunFailed, descendants_cpu_seconds

if TYPE_CHECKING:
    import redis

Found = TypeVar("Found")
Answer = dict[str, object]
"""What a step returns: as large as what Waybill's no-op agent returns."""

UNITS: Mapping[str, str] = {
    "throughput": "tasks/s",
    "chain_latency": "ms/step",
    "chain_throughput": "steps/s",
    "fan": "s",
    "diamond": "steps/s",
}
COUNTS: Mapping[str, int] = {
    "throughput": 20_000,
    "chain_latency": 100,
    "chain_throughput": 200,
    "fan": 1_000,
    "diamond": 2_000,
}
"""Tasks; chains; chains in flight; the width of the fan; diamonds in flight."""
CHAIN_STEPS = 10
DIAMOND_STEPS = 4
CALLS_AT_ONCE = 50
"""What an asyncio client has under way at once, if its system has no call for many tasks."""
WARM_UP_TASKS = 200
WARM_UP_CHAINS = 5
LIMIT_SECONDS = 300
NO_SUCH_BENCHMARK = 3
STOPPED = 143


def answer(items: int = 12) -> Answer:
    """Return the payload of every step. `items` carries what the checks look at."""
    return {"title": "An answer", "score": 0.87, "items": items}


def items_of(found: object) -> int:
    """Return `items` of an answer; RunFailed if it is no answer."""
    if isinstance(found, dict) and found.get("title") == "An answer" and isinstance(found.get("items"), int):
        return int(found["items"])
    raise RunFailed(f"not an answer: {str(found)[:200]}")


@dataclass(frozen=True)
class Run:
    """One run: which benchmark, how large, on which store, and where its files go."""

    bench: str
    count: int
    store_url: str
    folder: Path
    processes: Processes
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    """Part of the names of everything that the run makes."""
    _databases: list[str] = field(default_factory=list)

    def database(self, number: int) -> str:
        """Return the URL of a database of the store that this run has for itself: it is empty, and is emptied at the
        end. Raises RunFailed if somebody else's keys are in it.
        """
        url = f"{self.store_url.rsplit('/', 1)[0]}/{number}"
        with _connected(url) as store:
            if keys := store.dbsize():
                raise RunFailed(f"database {number} of the store holds {keys} keys: name a server that only peers use")
        self._databases.append(url)
        return url

    def cpu_seconds(self) -> dict[str, float]:
        """Return what client, workers (all that the peer started) and store have used until now."""
        used = {"client": time.process_time(), "workers": descendants_cpu_seconds()}
        for url in self._databases[:1]:
            with _connected(url) as store:
                info = store.info("cpu")
            used["store"] = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
        return used

    def end(self) -> None:
        """Stop all processes, then empty the databases that they wrote to."""
        self.processes.stop()
        while self._databases:
            with _connected(self._databases.pop()) as store:
                store.flushdb()


class Peer(ABC):
    """A system that does the same work as Waybill. One object is made for each run."""

    benches: ClassVar[frozenset[str]] = frozenset(UNITS)
    packages: ClassVar[tuple[str, ...]]
    """The distributions whose versions belong to the figure."""
    uvloop: ClassVar[bool] = False
    """Whether the client runs on uvloop."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @abstractmethod
    async def start(self) -> None:
        """Start the processes of the system and connect to it; return once all workers are ready."""

    @abstractmethod
    async def tasks(self, count: int) -> Sequence[object]:
        """Submit `count` independent tasks, each of which returns `answer()`, and return all results."""

    async def chain(self, steps: int) -> object:
        """Run steps one after another: the first returns items=1, each further one adds 1 to what it is given."""
        (found,) = await self.chains(1, steps)
        return found

    @abstractmethod
    async def chains(self, count: int, steps: int) -> Sequence[object]:
        """Run chains all at once and return the result of the last step of each."""

    async def fan(self, width: int) -> object:
        """Run one step, then `width` steps that return items=1 each, then one that returns the sum of their items."""
        (found,) = await self.joined(1, width, 0)
        return found

    async def diamonds(self, count: int) -> Sequence[object]:
        """Run diamonds all at once: items=1, two steps that add 1 each, and one that returns their sum."""
        return await self.joined(count, 2, 1)

    @abstractmethod
    async def joined(self, count: int, width: int, given: int) -> Sequence[object]:
        """Run graphs all at once: a step returns items=given, `width` steps add 1 each, and one returns their sum."""

    @abstractmethod
    async def stop(self) -> None:
        """Let go of what the client holds. The processes are stopped after that, and the databases emptied."""

    def versions(self) -> dict[str, str]:
        """Return the versions of what was measured."""
        return {name: importlib.metadata.version(name) for name in self.packages}


@dataclass(frozen=True)
class Figure:
    """What one run found."""

    value: float
    detail: dict[str, float] = field(default_factory=dict)


async def side_by_side(calls: Sequence[Callable[[], Awaitable[Found]]], at_once: int = CALLS_AT_ONCE) -> list[Found]:
    """Make calls, so many at once, and return what they return, in their order."""
    found: list[Found | None] = [None] * len(calls)
    waiting = iter(enumerate(calls))

    async def make() -> None:
        for place, call in waiting:
            found[place] = await call()

    await asyncio.gather(*(make() for _ in range(min(at_once, len(calls)))))
    return cast(list[Found], found)


def percentile(values: Sequence[float], part: float) -> float:
    """Return the nearest-rank percentile of values; `part` is between 0 and 1."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def main(peer: type[Peer], description: str | None) -> NoReturn:
    """Run the benchmark that the command line names and exit."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help=f"one of {', '.join(UNITS)}")
    parser.add_argument("--store", default="redis://127.0.0.1:6379/0", help="a server that only peers use")
    parser.add_argument("--count", type=int, help="how much work; the benchmark's own count if left out")
    parser.add_argument("--limit-seconds", type=int, default=LIMIT_SECONDS, help="give up after this long")
    arguments = parser.parse_args()
    if arguments.bench not in peer.benches:
        print(f"{peer.__name__} has no benchmark {arguments.bench}", file=sys.stderr)
        sys.exit(NO_SUCH_BENCHMARK)
    count = COUNTS[arguments.bench] if arguments.count is None else arguments.count
    if count < 1:
        parser.error("--count must be at least 1")
    signal.signal(signal.SIGTERM, _stopped)
    signal.signal(signal.SIGINT, _stopped)
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(arguments.limit_seconds)
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as folder:
        run = Run(arguments.bench, count, arguments.store, Path(folder), Processes(Path(folder)))
        try:
            figure = _figure(peer, run)
        except RunFailed as failure:
            print(f"{failure}\n{run.processes.tails()}", file=sys.stderr)
            sys.exit(1)
        except (Exception, SystemExit):
            print(run.processes.tails(), file=sys.stderr)
            raise
        finally:
            # Nothing may come between the end of a run and the end of its processes.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
                signal.signal(number, signal.SIG_IGN)
            run.end()
    print(json.dumps(figure), flush=True)
    sys.exit(0)


def _figure(peer: type[Peer], run: Run) -> dict[str, object]:
    if peer.uvloop:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    else:
        runner = asyncio.Runner()
    with runner:
        one = peer(run)
        figure = runner.run(_run(one))
    return {
        "value": figure.value,
        "unit": UNITS[run.bench],
        "detail": figure.detail,
        "versions": {**one.versions(), "python": platform.python_version()},
    }


async def _run(peer: Peer) -> Figure:
    try:
        await peer.start()
        await _warm_up(peer)
        peer.run.processes.check()
        before = peer.run.cpu_seconds()
        figure = await _measure(peer)
        after = peer.run.cpu_seconds()
        used = {f"{who}_cpu_us": (after[who] - before[who]) * 1e6 / _steps(peer.run) for who in after}
        return replace(figure, detail={**figure.detail, **used})
    finally:
        await peer.stop()


async def _warm_up(peer: Peer) -> None:
    """Work of the kind that is measured: it finds both workers ready, and fills caches and pools of connections."""
    match peer.run.bench:
        case "throughput":
            _check([items_of(one) for one in await peer.tasks(min(WARM_UP_TASKS, peer.run.count))], 12)
        case "fan":
            _check([items_of(await peer.fan(10))], 10)
        case "diamond":
            _check([items_of(one) for one in await peer.diamonds(min(WARM_UP_CHAINS, peer.run.count))], 4)
        case _:
            _check([items_of(await peer.chain(CHAIN_STEPS)) for _ in range(WARM_UP_CHAINS)], CHAIN_STEPS)


def _steps(run: Run) -> int:
    """How many steps a run runs: its CPU time is told for each."""
    match run.bench:
        case "throughput":
            return run.count
        case "fan":
            return run.count + 2
        case "diamond":
            return run.count * DIAMOND_STEPS
        case _:
            return run.count * CHAIN_STEPS


async def _measure(peer: Peer) -> Figure:
    count = peer.run.count
    started = time.perf_counter()
    match peer.run.bench:
        case "throughput":
            found = await peer.tasks(count)
            seconds = time.perf_counter() - started
            _check([items_of(one) for one in found], 12, count)
            return Figure(count / seconds, {"seconds": seconds})
        case "chain_latency":
            return await _chain_latency(peer, count)
        case "chain_throughput":
            found = await peer.chains(count, CHAIN_STEPS)
            seconds = time.perf_counter() - started
            _check([items_of(one) for one in found], CHAIN_STEPS, count)
            return Figure(count * CHAIN_STEPS / seconds, {"seconds": seconds})
        case "fan":
            total = await peer.fan(count)
            seconds = time.perf_counter() - started
            _check([items_of(total)], count)
            return Figure(seconds)
        case _:
            found = await peer.diamonds(count)
            seconds = time.perf_counter() - started
            _check([items_of(one) for one in found], 4, count)
            return Figure(count * DIAMOND_STEPS / seconds, {"seconds": seconds})


async def _chain_latency(peer: Peer, count: int) -> Figure:
    step_ms: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        found = await peer.chain(CHAIN_STEPS)
        step_ms.append((time.perf_counter() - started) * 1_000 / CHAIN_STEPS)
        _check([items_of(found)], CHAIN_STEPS)
    return Figure(statistics.median(step_ms), {"p99_ms": percentile(step_ms, 0.99), "min_ms": min(step_ms)})


def _check(items: Sequence[int], expected: int, count: int | None = None) -> None:
    if count is not None and len(items) != count:
        raise RunFailed(f"{len(items)} results instead of {count}")
    wrong = [one for one in items if one != expected]
    if wrong:
        raise RunFailed(f"{len(wrong)} of {len(items)} results are wrong: items is {wrong[0]} instead of {expected}")


@contextmanager
def _connected(url: str) -> Iterator[redis.Redis]:
    import redis

    with redis.Redis.from_url(url) as store:
        yield store


def _stopped(number: int, _frame: object) -> NoReturn:
    raise SystemExit(STOPPED)


def _late(number: int, _frame: object) -> NoReturn:
    # Not RunFailed: an event loop logs an exception of a signal handler and goes on, but not one that ends the process.
    raise SystemExit("the run took too long: raise --limit-seconds, or lower --count")
