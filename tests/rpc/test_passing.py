"""Streams that are handed on as bytes, by a server whose servicer answers with bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from waybill.api.v1 import planner_pb2, planner_pb2_grpc
from waybill.rpc.channel import connect
from waybill.rpc.passing import bytes_stream
from waybill.rpc.server import ServiceServer
from waybill.settings import ServiceSettings

PLANNER = planner_pb2.DESCRIPTOR.services_by_name["PlannerService"]
PLANS = [planner_pb2.StreamPlanResponse(plan={"steps": [{"name": name}]}) for name in ("a", "b")]


class Planner(planner_pb2_grpc.PlannerServiceServicer):
    """Answers with a message, then with one on the wire, and then with the goal that it was given."""

    async def StreamPlan(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield PLANS[0]
        yield PLANS[1].SerializeToString()
        yield planner_pb2.StreamPlanResponse(plan={"steps": [{"name": request.goal}]})


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    async def ready() -> bool:
        return True

    server = ServiceServer("test", ServiceSettings(shutdown_grace_seconds=5), ready=ready)
    planner_pb2_grpc.add_PlannerServiceServicer_to_server(Planner(), server.grpc)
    await server.start([PLANNER.full_name])
    async with connect(f"127.0.0.1:{server.grpc_port}") as opened:
        yield opened
    await server.stop()


async def test_given_a_stream_of_bytes_when_read_then_they_are_the_messages(channel: grpc.aio.Channel) -> None:
    call = bytes_stream(channel, PLANNER, "StreamPlan")(planner_pb2.StreamPlanRequest(goal="c"))
    found = [planner_pb2.StreamPlanResponse.FromString(written) async for written in call]
    assert found[:2] == PLANS
    assert found[2].plan.steps[0].name == "c"


async def test_whoever_reads_messages_sees_no_difference(channel: grpc.aio.Channel) -> None:
    call = planner_pb2_grpc.PlannerServiceStub(channel).StreamPlan(planner_pb2.StreamPlanRequest(goal="c"))
    assert [response async for response in call][:2] == PLANS


async def test_a_method_that_the_service_has_not_is_an_error(channel: grpc.aio.Channel) -> None:
    with pytest.raises(KeyError):
        bytes_stream(channel, PLANNER, "Nothing")
