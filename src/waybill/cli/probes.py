"""Owns the questions that tell whether a started process does its work yet. Each answers within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from waybill.cli.ports import LOOPBACK

_ANSWER_SECONDS = 1.0
_PATIENCE_SECONDS = 4.0
Probe = Callable[[], Awaitable[bool]]


def store_answers(port: int) -> Probe:
    """Whether the store serves: it listens, and has read its files."""

    async def ask() -> bool:
        try:
            return await asyncio.wait_for(_ping(port), _ANSWER_SECONDS)
        except (OSError, TimeoutError):
            return False

    return ask


async def _ping(port: int) -> bool:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(b"PING\r\n")
        return (await reader.readline()).strip() == b"+PONG"
    finally:
        writer.close()


def service_ready(address: str) -> Probe:
    """Whether a service says over gRPC health that it is ready for work."""

    async def ask() -> bool:
        import grpc  # lazy: the processes are started before this one takes the time
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        async with grpc.aio.insecure_channel(address) as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service="readiness"), timeout=_ANSWER_SECONDS
                )
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return ask


def service_answers(address: str) -> Probe:
    """Whether a service answers a health check at all, whatever it says."""

    async def ask() -> bool:
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        async with grpc.aio.insecure_channel(address) as channel:
            try:
                await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service="liveness"), timeout=_PATIENCE_SECONDS
                )
            except grpc.aio.AioRpcError:
                return False
        return True

    return ask


def agents_live(address: str) -> Probe:
    """Whether the gateway is ready and knows of at least one live worker."""

    async def ask() -> bool:
        import grpc

        from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc

        if not await service_ready(address)():
            return False
        async with grpc.aio.insecure_channel(address) as channel:
            try:
                answer = await gateway_pb2_grpc.GatewayServiceStub(channel).ListAgents(
                    gateway_pb2.ListAgentsRequest(), timeout=_ANSWER_SECONDS
                )
            except grpc.aio.AioRpcError:
                return False
            return any(agent.live_workers for agent in answer.agents)

    return ask
