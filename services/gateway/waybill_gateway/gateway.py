"""The gateway put together: channel, verbs, both servers, and the order in which they stop."""

from __future__ import annotations

import asyncio
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from waybill.api.v1 import gateway_pb2_grpc
from waybill.rpc.channel import connect
from waybill.rpc.server import READINESS, ServiceServer
from waybill_gateway.http_app import build_app
from waybill_gateway.http_server import HttpServer
from waybill_gateway.servicer import SERVICE_NAME, GatewayServicer
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs

_READY_TIMEOUT_SECONDS = 1.0
_FRESH_SECONDS = 3.0
"""A dispatcher that was ready so recently is not asked again by what only watches this process."""


class Gateway:
    """One gateway process. Make it inside the running loop, `start` it, then `run_until_stopped`."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._channel = connect(settings.dispatcher_address)
        self._health = health_pb2_grpc.HealthStub(self._channel)
        self._verbs = Verbs(self._channel)
        self._ready_at = -_FRESH_SECONDS
        self.server = ServiceServer("gateway", settings, ready=self._was_ready)
        self.http = HttpServer(
            build_app(self._verbs, settings, self._is_ready),
            settings.host,
            settings.http_port,
            settings.shutdown_grace_seconds,
        )
        servicer = GatewayServicer(self._verbs, settings.call_timeout_seconds)
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, self.server.grpc)

    async def start(self) -> None:
        """Bind all ports and serve. Raises OSError if one is taken."""
        await self.http.start()
        await self.server.start([SERVICE_NAME])

    async def run_until_stopped(self) -> None:
        """Serve until SIGTERM, SIGINT or `server.request_stop`; then end watches, drain both servers and return."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stop_http())
            group.create_task(self.server.run_until_stopped())
        await self._channel.close()

    async def _stop_http(self) -> None:
        await self.server.stopping.wait()
        self._verbs.fanout.close()
        self._verbs.results.close()
        await self.http.stop()

    async def _is_ready(self) -> bool:
        """Whether the dispatcher is reachable and ready, which it is while the store is."""
        if self.server.stopping.is_set():
            return False
        try:
            response = await self._health.Check(
                health_pb2.HealthCheckRequest(service=READINESS), timeout=_READY_TIMEOUT_SECONDS
            )
        except grpc.aio.AioRpcError:
            return False
        is_ready = bool(response.status == health_pb2.HealthCheckResponse.SERVING)
        self._ready_at = time.monotonic() if is_ready else -_FRESH_SECONDS
        return is_ready

    async def _was_ready(self) -> bool:
        """Whether it is ready, or was a moment ago."""
        is_fresh = time.monotonic() - self._ready_at < _FRESH_SECONDS
        return not self.server.stopping.is_set() if is_fresh else await self._is_ready()
