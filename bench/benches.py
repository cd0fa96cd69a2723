"""The benchmarks there are: what each measures, which way is better, and what Waybill is to reach."""

from __future__ import annotations

from dataclasses import dataclass

PEERS = "peers"
"""Stands for all systems that are neither Waybill nor part of it: the best of them counts."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. Its module has the same name.

    A ratio says how many times better Waybill is than `rival` (`PEERS`, a system, or "" for none, where the ratio is to
    the target `limit`). The target is met when Waybill's value is within `limit`, at most that if lower is better and
    at least that if higher is, and its ratio to the rival is at least `times`.
    """

    name: str
    work: str
    higher_is_better: bool
    rival: str = PEERS
    times: float | None = None
    limit: float | None = None
    quick: bool = False

    def ratio(self, value: float, rival: float) -> float:
        """How many times better a value is than the rival's."""
        better, worse = (value, rival) if self.higher_is_better else (rival, value)
        return better / worse if worse else float("inf")

    def within_limit(self, value: float) -> bool:
        """Whether a value keeps to the limit, if there is one."""
        if self.limit is None:
            return True
        return value >= self.limit if self.higher_is_better else value <= self.limit

    @property
    def target(self) -> str:
        """The target in words."""
        parts = []
        if self.limit is not None:
            parts.append(f"{'at least' if self.higher_is_better else 'at most'} {self.limit:g}")
        if self.times is not None:
            parts.append(f"{self.times:g}x {'the fastest' if self.rival == PEERS else self.rival}")
        return ", ".join(parts)


BENCHMARKS = (
    Benchmark("throughput", "20,000 independent one-step tasks", True, times=3.0, quick=True),
    Benchmark("chain_latency", "10-step chains, one at a time", False, times=1.0, limit=0.7, quick=True),
    Benchmark("chain_throughput", "200 chains of 10 steps in flight", True, times=5.0, quick=True),
    Benchmark("fan", "1 step, then 1,000, then 1", False, limit=0.06, quick=True),
    Benchmark("diamond", "2,000 four-step diamonds in flight", True, times=5.0, quick=True),
    Benchmark("unary", "single SubmitTask calls of 50 callers", True, rival="grpc-echo", times=0.4),
    Benchmark("watchers", "1,000 watch streams, a tenth stalled: delay p99", False, rival="", limit=100.0),
    Benchmark("ledger_ceiling", "throughput beside the bare ledger", True, rival="ledger", times=0.5),
    Benchmark("growth", "throughput with 1,000,000 tasks stored, as a share", True, rival="", limit=0.9),
    Benchmark("partitions", "work of a cluster's masters: the largest deviation", False, rival="", limit=0.1),
    Benchmark("idle", "commands a second of an idle suite", False, rival="", limit=20.0),
    Benchmark("memory", "resident memory of an idle worker", False, rival="", limit=90.0),
)
BY_NAME = {benchmark.name: benchmark for benchmark in BENCHMARKS}
