"""The planner as a process."""

import json
import os
import signal
import subprocess
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from waybill_planner.servicer import SERVICE_NAME
from waybill_planner.settings import PlannerSettings


def port_of(process: subprocess.Popen[bytes]) -> int:
    """The port that the process says it serves on, in its log."""
    assert process.stderr is not None
    for line in process.stderr:
        entry = json.loads(line)
        if entry["event"] == "serving":
            return int(entry["grpc_port"])
    raise AssertionError("the process ended before it served")


def test_the_process_serves_where_its_environment_says_and_leaves_on_sigterm() -> None:
    environment = os.environ | {"WAYBILL_PLANNER_GRPC_PORT": "0", "WAYBILL_PLANNER_METRICS_PORT": "0"}
    process = subprocess.Popen([sys.executable, "-m", "waybill_planner"], env=environment, stderr=subprocess.PIPE)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port_of(process)}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest(service=SERVICE_NAME), timeout=30, wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (PlannerSettings().host, PlannerSettings().grpc_port, PlannerSettings().metrics_port) == (
        "127.0.0.1",
        7401,
        7491,
    )
    monkeypatch.setenv("WAYBILL_PLANNER_GRPC_PORT", "9000")
    assert PlannerSettings().grpc_port == 9000
