"""A gateway on free ports before a dispatcher that keeps tasks in memory; everything in between is real sockets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import httpx
import pytest
from waybill_gateway.gateway import Gateway
from waybill_gateway.settings import GatewaySettings

sys.path.insert(0, str(Path(__file__).parent))

from fake_dispatcher import FakeDispatcher

from waybill.api.v1 import gateway_pb2_grpc
from waybill.rpc.channel import connect


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; the test's own timeout ends a wait that is in vain."""
    while not condition():
        await asyncio.sleep(0.01)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits for a condition."""
    return eventually


@pytest.fixture
async def dispatcher() -> AsyncIterator[FakeDispatcher]:
    """A dispatcher that serves."""
    fake = FakeDispatcher()
    await fake.start()
    yield fake
    await fake.kill()


@pytest.fixture
def settings(dispatcher: FakeDispatcher) -> GatewaySettings:
    """Settings of a gateway on free ports before the dispatcher."""
    return GatewaySettings(
        grpc_port=0,
        http_port=0,
        metrics_port=0,
        dispatcher_address=f"127.0.0.1:{dispatcher.port}",
        shutdown_grace_seconds=1,
        call_timeout_seconds=5,
        max_body_bytes=100_000,
    )


@pytest.fixture
async def gateway(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """A gateway that serves; stopped as SIGTERM would after the test."""
    running = Gateway(settings)
    await running.start()
    stopped = asyncio.create_task(running.run_until_stopped())
    yield running
    running.server.request_stop()
    await stopped


@pytest.fixture
async def stub(gateway: Gateway) -> AsyncIterator[gateway_pb2_grpc.GatewayServiceAsyncStub]:
    """The gateway over gRPC."""
    async with connect(f"127.0.0.1:{gateway.server.grpc_port}") as channel:
        yield cast("gateway_pb2_grpc.GatewayServiceAsyncStub", gateway_pb2_grpc.GatewayServiceStub(channel))


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway over HTTP."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http.port}", timeout=30) as client:
        yield client
