"""The server side of a service process: gRPC with health and reflection, `/metrics`, signals, and the way out."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import ipaddress
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence

import prometheus_client
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from waybill.core.limits import MAX_MESSAGE_BYTES
from waybill.rpc.channel import MAX_METADATA_BYTES
from waybill.rpc.serving import InstrumentedServer
from waybill.rpc.watchdog import Watchdog
from waybill.settings import ServiceSettings
from waybill.telemetry import exporting, logs, tracing
from waybill.telemetry.logs import get_logger

log = get_logger(__name__)

LIVENESS = "liveness"
READINESS = "readiness"
_READINESS_SECONDS = 1.0
_LAST_SPANS_SECONDS = 2.0
"""How long the end of a process waits for whoever takes its spans."""
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_OPTIONS: tuple[tuple[str, int], ...] = (
    # A second process on the same port must fail to bind, not silently take half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class ServiceServer:
    """The servers of one service process.

    Make it inside the running loop, register servicers on `grpc`, then `start` and `run_until_stopped`.
    `stopping` is set once the process was asked to stop; streams that never end by themselves watch it. `ready` says
    whether the process can do its work now, `alive` whether it ever will again without being started anew.
    """

    def __init__(
        self,
        service: str,
        settings: ServiceSettings,
        *,
        ready: Callable[[], Awaitable[bool]],
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self.service = service
        self.settings = settings
        self.stopping = asyncio.Event()
        self.grpc_port = 0
        self.metrics_port = 0
        self.grpc = InstrumentedServer(_OPTIONS, access_log=settings.log_level == "DEBUG")
        self._ready = ready
        self._alive = alive
        self._watchdog = Watchdog(settings.stuck_seconds)
        self._health = health.aio.HealthServicer()
        self._names: tuple[str, ...] = ()
        self._polling: asyncio.Task[None] | None = None
        self._close_metrics: Callable[[], None] = lambda: None

    async def start(self, service_full_names: Sequence[str]) -> None:
        """Bind the ports and serve; from here on SIGTERM and SIGINT ask the process to stop.

        Raises OSError if a port is taken.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        self._names = tuple(service_full_names)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        names = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.grpc)
        host = self.settings.host
        warn_if_open(self.service, host)
        try:
            self.grpc_port = self.grpc.add_insecure_port(address(host, self.settings.grpc_port))
        except RuntimeError as error:
            raise OSError(f"cannot bind {address(host, self.settings.grpc_port)} for gRPC: is it in use?") from error
        self._serve_metrics()
        await self._health.set(LIVENESS, _SERVING)
        await self._set_readiness(await self._poll())
        await self.grpc.start()
        self._polling = asyncio.create_task(self._keep_health())
        self._watchdog.start()
        log.info("serving", host=host, grpc_port=self.grpc_port, metrics_port=self.metrics_port)

    def request_stop(self) -> None:
        """Ask the process to stop, as SIGTERM does."""
        self.stopping.set()

    async def run_until_stopped(self) -> None:
        """Serve until SIGTERM, SIGINT or `request_stop`, then let calls in flight finish and return."""
        try:
            await self.stopping.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Tell health checks, then stop within the grace of the settings. Calls after the first change nothing."""
        self.stopping.set()
        log.info("stopping")
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await self._health.enter_graceful_shutdown()
        close_metrics, self._close_metrics = self._close_metrics, lambda: None
        await asyncio.gather(self.grpc.stop(self.settings.shutdown_grace_seconds), asyncio.to_thread(close_metrics))
        self._watchdog.stop()
        log.info("stopped")

    def _serve_metrics(self) -> None:
        server, thread = prometheus_client.start_http_server(self.settings.metrics_port, self.settings.host)
        self.metrics_port = server.server_port

        def close() -> None:
            # Its loop looks twice a second whether it shall end, unless something comes in, as an end of input does.
            with contextlib.suppress(OSError):
                server.socket.shutdown(socket.SHUT_RDWR)
            server.shutdown()
            server.server_close()
            thread.join()

        self._close_metrics = close

    async def _keep_health(self) -> None:
        was_ready: bool | None = None
        was_alive = True
        while True:
            is_ready, is_alive = await self._poll(), self._alive()
            if is_ready != was_ready:
                log.info("readiness", status="ready" if is_ready else "not ready")
                await self._set_readiness(is_ready)
                was_ready = is_ready
            if is_alive != was_alive:
                log.warning("liveness", status="alive" if is_alive else "stuck")
                await self._health.set(LIVENESS, _SERVING if is_alive else _NOT_SERVING)
                was_alive = is_alive
            await asyncio.sleep(_READINESS_SECONDS)

    async def _poll(self) -> bool:
        try:
            async with asyncio.timeout(2 * _READINESS_SECONDS):
                return await self._ready()
        except Exception as error:
            log.debug("readiness check failed", error=type(error).__name__)
            return False

    async def _set_readiness(self, is_ready: bool) -> None:
        for name in ("", READINESS, *self._names):
            await self._health.set(name, _SERVING if is_ready else _NOT_SERVING)


def address(host: str, port: int) -> str:
    """`host:port`, with an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def warn_if_open(service: str, host: str) -> None:
    """Log a warning if a server of the process can be reached from other machines, as nothing asks who calls."""
    try:
        is_open = not ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_open = host != "localhost"
    if is_open:
        log.warning(
            "open without authentication: everyone who reaches this address can use it; "
            "bind 127.0.0.1 or keep it on a trusted network",
            host=host,
            service_name=service,
        )


def run(main: Callable[[], Awaitable[None]], service: str, settings: ServiceSettings) -> None:
    """Run a service process: logs, traces and uvloop, then `main` until it returns."""
    logs.configure(service, settings.log_level)
    tracing.configure(service)
    # Whatever holds the interpreter when the watchdog's timer ends the process is told on stderr first.
    faulthandler.register(signal.SIGVTALRM, file=sys.stderr, all_threads=True, chain=True)

    async def run_main() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(run_main())
        except Exception as error:
            log.error("ended by an error", error=str(error), exc_info=error)
            raise SystemExit(1) from error
        finally:
            exporting.shut_down(_LAST_SPANS_SECONDS)
