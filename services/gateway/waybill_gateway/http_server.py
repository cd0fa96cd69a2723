"""The HTTP server, in the gateway's own loop beside gRPC. The process's signals are not its business."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from waybill.rpc.server import address
from waybill.telemetry.logs import get_logger

log = get_logger(__name__)

KEEP_ALIVE_SECONDS = 75


class HttpServer:
    """Serves an ASGI app on one address until stopped."""

    def __init__(self, app: ASGIApp, host: str, port: int, grace_seconds: float) -> None:
        self._host = host
        self._asked_port = port
        self._server = _QuietServer(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(grace_seconds)),
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Bind and serve; `port` is then the bound one. Raises OSError if the port is taken."""
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            listener = socket.create_server((self._host, self._asked_port), family=family)
        except OSError as error:
            raise OSError(f"cannot bind {address(self._host, self._asked_port)} for HTTP: {error}") from error
        self.port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        log.info("serving HTTP", host=self._host, http_port=self.port)

    async def stop(self) -> None:
        """Stop accepting, let responses in flight finish within the grace, and return."""
        self._server.end()
        if self._serving is not None:
            await self._serving


class _QuietServer(uvicorn.Server):
    """Leaves signal handlers to the process, which stops all servers in order, and sleeps while nothing comes."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Have it end."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Renew the date of responses every second until told to end, which uvicorn asks for ten times as often."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
