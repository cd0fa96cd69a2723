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
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


class _QuietServer(uvicorn.Server):
    """Leaves signal handlers to the process, which stops all of its servers in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
