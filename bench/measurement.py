"""What a benchmark measures, and the JSON object that it becomes.

## How a benchmark plugs in

A benchmark is a module `bench/<name>.py` that `benches.py` lists, with one function:

    async def measure(scale: Scale) -> Sequence[Measured]

It starts what it needs (`bench_suite.running_suite(workers=2, environment={})`), warms up, measures `scale.runs` times,
stops everything however it ends, and returns one `Measured` for each system that it measured itself (`waybill`, and
whatever it is held against in the same run, such as `ledger` or `grpc-echo`). Counts go through `scale.count(20_000)`,
so that a test can run the whole benchmark with a few. It prints nothing on stdout; `say` writes to stderr.

Peers are no such modules: see `peer_runs.py`.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import redis

WAYBILL = "waybill"
_PACKAGES = ("waybill", "grpcio", "redis", "hiredis", "uvloop", "protobuf")


@dataclass(frozen=True)
class Scale:
    """How much a benchmark does: so many `runs`, each of a `share` of the full counts."""

    runs: int = 3
    share: float = 1.0

    def count(self, full: int, least: int = 1) -> int:
        """The share of a full count, but no less than `least`."""
        return max(least, min(full, round(full * self.share)))


@dataclass(frozen=True)
class Measured:
    """What one benchmark found of one system: the value of each run, and free-form numbers beside it.

    `detail` holds whatever explains the values (`p99_ms`, `fsync_ms`, `cpu_us` by process); `versions` only what the
    frame does not know by itself.
    """

    system: str
    unit: str
    runs: Sequence[float]
    detail: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One JSON object of `results/latest.json`. `value` is the median of `runs`.

    Only results of one `invocation` were measured side by side, so only those are ever divided by each other. `time` is
    when the invocation began, in UTC.
    """

    bench: str
    system: str
    value: float
    unit: str
    runs: list[float]
    versions: dict[str, str]
    detail: dict[str, Any]
    invocation: str
    time: str

    @classmethod
    def of(cls, bench: str, measured: Measured, versions: Mapping[str, str], invocation: str, time: str) -> Result:
        """The result of a measurement."""
        return cls(
            bench=bench,
            system=measured.system,
            value=rounded(statistics.median(measured.runs)),
            unit=measured.unit,
            runs=[rounded(value) for value in measured.runs],
            versions={**versions, **measured.versions},
            detail=dict(measured.detail),
            invocation=invocation,
            time=time,
        )


def rounded(value: float, digits: int = 4) -> float:
    """The value with so many significant digits."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def own_versions() -> dict[str, str]:
    """Versions of Python and the libraries that this process and the suite run with, and what machine it is."""
    installed = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **installed, "machine": machine()}


def machine() -> str:
    """What machine this is: `Linux x86_64, 2 processors`."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"


def store_version(store: redis.Redis) -> str:
    """Name and version of a store's server: `Valkey 9.1.2`."""
    info = store.info("server")
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info['redis_version']}"


def say(message: str) -> None:
    """Tell people how far the measurement is, on stderr."""
    print(message, file=sys.stderr, flush=True)
