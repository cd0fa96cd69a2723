"""A planner on a free port of this process."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests"))

from waybill_planner.__main__ import planner_server
from waybill_planner.settings import PlannerSettings

from waybill.api.v1 import planner_pb2_grpc
from waybill.rpc.channel import connect
from waybill.rpc.server import ServiceServer


@pytest.fixture
async def server() -> AsyncIterator[ServiceServer]:
    running = await planner_server(PlannerSettings(grpc_port=0, metrics_port=0, shutdown_grace_seconds=0))
    yield running
    await running.stop()


@pytest.fixture
async def planner(server: ServiceServer) -> AsyncIterator[planner_pb2_grpc.PlannerServiceStub]:
    async with connect(f"127.0.0.1:{server.grpc_port}") as channel:
        yield planner_pb2_grpc.PlannerServiceStub(channel)
