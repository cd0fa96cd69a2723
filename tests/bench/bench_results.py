"""Results for the tests of the benchmarks' frame."""

from __future__ import annotations

from typing import Any

from measurement import Measured, Result

COSTS = {
    "store": 40.0,
    "gateway": 12.0,
    "worker-1": 17.0,
    "dispatcher": 20.0,
    "planner": 0.0,
    "client": 9.0,
    "sum": 98.0,
}


def result(bench: str, system: str, value: float, invocation: str = "one", **detail: Any) -> Result:
    """A result whose runs are all alike."""
    measured = Measured(system, "units", [value] * 3, detail, {system: "1.0"})
    return Result.of(bench, measured, {"machine": "a machine"}, invocation, "2026-11-24T10:00:00+00:00")


SOME = [
    result("throughput", "waybill", 21_000, cpu_us=COSTS),
    result("throughput", "slow", 440),
    result("throughput", "fast", 6_000),
    result("chain_latency", "waybill", 0.65, p99_ms=1.1, fsync_ms={"p50": 0.12, "p99": 0.4}),
    result("chain_latency", "fast", 0.98),
    result("unary", "waybill", 2_000),
    result("unary", "grpc-echo", 8_000),
    result("growth", "waybill", 0.95, tasks_s_by_stored_tasks={"0": 20.0}, cpu_us_a_step_by_plan_steps={"10": 70.0}),
    result("idle", "waybill", 12),
]
