"""A service process: what surrounds every call, and how it starts and stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from waybill.api.v1 import planner_pb2, planner_pb2_grpc
from waybill.errors import InvalidArgument
from waybill.rpc.channel import connect
from waybill.rpc.server import ServiceServer
from waybill.rpc.status import from_rpc_error
from waybill.settings import ServiceSettings
from waybill.telemetry.tracing import current_traceparent

SERVICE = "waybill.api.v1.PlannerService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Panic(BaseException):
    """What a library that is not written in Python may raise."""


class Planner(planner_pb2_grpc.PlannerServiceServicer):
    """Fails or answers by the goal that it is given."""

    async def CreatePlan(self, request, context):
        match request.goal:
            case "wrong":
                raise InvalidArgument.of_field("goal", "is wrong")
            case "broken":
                raise RuntimeError("password in the message")
            case "panics":
                raise Panic("password in the message")
            case "slow":
                await asyncio.sleep(0.3)
            case "trace":
                return planner_pb2.CreatePlanResponse(plan={"steps": [{"name": current_traceparent()}]})
        return planner_pb2.CreatePlanResponse()


class Unfinished(planner_pb2_grpc.PlannerServiceServicer):
    """Implements nothing."""


@pytest.fixture
async def readiness():
    return {"ready": True}


@pytest.fixture
async def server(readiness):
    async def ready() -> bool:
        return readiness["ready"]

    running = ServiceServer("test", ServiceSettings(shutdown_grace_seconds=5), ready=ready)
    planner_pb2_grpc.add_PlannerServiceServicer_to_server(Planner(), running.grpc)
    await running.start([SERVICE])
    yield running
    await running.stop()


@pytest.fixture
async def channel(server):
    async with connect(f"127.0.0.1:{server.grpc_port}") as opened:
        yield opened


def plan(channel, goal, **options):
    return planner_pb2_grpc.PlannerServiceStub(channel).CreatePlan(planner_pb2.CreatePlanRequest(goal=goal), **options)


@pytest.mark.parametrize(
    ("goal", "code"),
    [
        ("wrong", grpc.StatusCode.INVALID_ARGUMENT),
        ("broken", grpc.StatusCode.INTERNAL),
        ("panics", grpc.StatusCode.INTERNAL),
        ("fine", grpc.StatusCode.OK),
    ],
)
async def test_each_call_ends_with_its_code_and_is_counted(server, channel, goal, code):
    call = plan(channel, goal)
    assert await call.code() is code
    assert "password" not in (await call.details() or "")
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"http://127.0.0.1:{server.metrics_port}/metrics")).text
    labels = f'grpc_code="{code.name}",grpc_method="CreatePlan",grpc_service="{SERVICE}",grpc_type="unary"'
    assert f"grpc_server_handled_total{{{labels}}}" in metrics


@pytest.mark.parametrize("body", [b"\x0a\xff", b"\x0b" * 200, b"\x0a\x02\xff\xff", b"\x00"])
async def test_bytes_that_are_no_message_are_refused_by_the_call(channel, body):
    path = f"/{SERVICE}/CreatePlan"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(path, request_serializer=None, response_deserializer=None)(body)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = from_rpc_error(caught.value)
    assert (error.reason, "Error parsing" in error.message) == ("MALFORMED", False)


async def test_bytes_that_are_no_message_are_refused_in_a_stream_too(channel):
    path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    call = channel.stream_stream(path, request_serializer=None, response_deserializer=None)(iter([b"\x0a\xff"]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_method_that_is_not_implemented_says_so(readiness):
    async def ready() -> bool:
        return True

    unfinished = ServiceServer("test", ServiceSettings(shutdown_grace_seconds=0), ready=ready)
    planner_pb2_grpc.add_PlannerServiceServicer_to_server(Unfinished(), unfinished.grpc)
    await unfinished.start([SERVICE])
    async with connect(f"127.0.0.1:{unfinished.grpc_port}") as channel:
        assert await plan(channel, "").code() is grpc.StatusCode.UNIMPLEMENTED
    await unfinished.stop()


async def test_the_trace_of_the_caller_is_the_trace_of_the_servicer(channel):
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    response = await plan(channel, "trace", metadata=(("traceparent", traceparent),))
    assert response.plan.steps[0].name.split("-")[1] == traceparent.split("-")[1]


async def test_readiness_follows_the_service_and_liveness_does_not(channel, readiness):
    stub = health_pb2_grpc.HealthStub(channel)
    watching = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert (await watching.read()).status == SERVING
    readiness["ready"] = False
    assert (await watching.read()).status == NOT_SERVING
    for name, expected in (("", NOT_SERVING), ("readiness", NOT_SERVING), ("liveness", SERVING)):
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == expected
    watching.cancel()


async def test_liveness_says_what_the_service_says_of_itself():
    life = {"alive": True}

    async def ready() -> bool:
        return True

    settings = ServiceSettings(shutdown_grace_seconds=0)
    running = ServiceServer("test", settings, ready=ready, alive=lambda: life["alive"])
    await running.start([SERVICE])
    async with connect(f"127.0.0.1:{running.grpc_port}") as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="liveness"))
        assert (await watching.read()).status == SERVING
        life["alive"] = False
        assert (await watching.read()).status == NOT_SERVING
        life["alive"] = True
        assert (await watching.read()).status == SERVING
        watching.cancel()
    await running.stop()


async def test_a_call_in_flight_may_finish_when_the_server_stops(server, channel):
    call = asyncio.ensure_future(plan(channel, "slow"))
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(server.run_until_stopped())
    server.request_stop()
    assert await call == planner_pb2.CreatePlanResponse()
    await stopping


async def test_a_port_that_is_taken_is_refused_not_shared(server):
    async def ready() -> bool:
        return True

    second = ServiceServer("test", ServiceSettings(grpc_port=server.grpc_port), ready=ready)
    with pytest.raises(OSError, match=str(server.grpc_port)):
        await second.start([SERVICE])
    await second.stop()


async def test_a_restarted_server_is_found_by_a_call_that_waits(channel, server):
    await plan(channel, "fine")
    port = server.grpc_port
    await server.stop()
    call = asyncio.ensure_future(plan(channel, "fine", wait_for_ready=True, timeout=30))

    async def ready() -> bool:
        return True

    again = ServiceServer("test", ServiceSettings(grpc_port=port, shutdown_grace_seconds=0), ready=ready)
    planner_pb2_grpc.add_PlannerServiceServicer_to_server(Planner(), again.grpc)
    await again.start([SERVICE])
    assert await call == planner_pb2.CreatePlanResponse()
    await again.stop()


PROCESS = """
from waybill.rpc.server import ServiceServer, run
from waybill.settings import ServiceSettings

settings = ServiceSettings(host="0.0.0.0", shutdown_grace_seconds=1)

async def ready():
    return True

async def main():
    server = ServiceServer("test", settings, ready=ready)
    await server.start([])
    await server.run_until_stopped()

run(main, "test", settings)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_warns_when_it_is_open_and_ends_well_when_asked_to(number):
    process = subprocess.Popen([sys.executable, "-c", PROCESS], stderr=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(json.loads(line))
        if lines[-1]["event"] == "serving":
            process.send_signal(number)
    assert process.wait() == 0
    assert [line["level"] for line in lines if "without authentication" in line["event"]] == ["warning"]
    assert {"ts", "level", "service", "event"} <= set(lines[0])
