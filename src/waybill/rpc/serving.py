"""A gRPC server that wraps each method once, when it is called first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from waybill.rpc.interceptor import Handler, wrapped


class InstrumentedServer(grpc.aio.Server):  # type: ignore[misc]
    """What servicers are added to as to any server of gRPC; `interceptor` says what happens around their methods.

    Methods are found by their path when they are called, and never registered: for every call gRPC waits anew for the
    next call of each method that is registered, which took as long as all the rest of a call.
    """

    def __init__(self, options: Sequence[tuple[str, int]], *, access_log: bool) -> None:
        self._server = grpc.aio.server(options=options)
        self._access_log = access_log

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve these, each method wrapped."""
        self._server.add_generic_rpc_handlers(
            tuple(_Wrapped(handlers, self._access_log) for handlers in generic_rpc_handlers)
        )

    def add_insecure_port(self, address: str) -> int:
        """Bind a port; which one it is. Raises RuntimeError if it is taken."""
        return int(self._server.add_insecure_port(address))

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Bind a port for TLS; which one it is. Raises RuntimeError if it is taken."""
        return int(self._server.add_secure_port(address, server_credentials))

    async def start(self) -> None:
        """Serve."""
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """Take no more calls, and end those under way after the grace in seconds."""
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped; False if that takes longer than the timeout in seconds."""
        return bool(await self._server.wait_for_termination(timeout))


class _Wrapped(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The methods of one service, wrapped."""

    def __init__(self, handlers: grpc.GenericRpcHandler, access_log: bool) -> None:
        self._handlers = handlers
        self._access_log = access_log
        self._known: dict[str, Handler] = {}

    def service(self, handler_call_details: Any) -> Handler:
        """The handler of a call; None for a method that the service does not have."""
        path = handler_call_details.method
        known = self._known.get(path)
        if known is None:
            handler = self._handlers.service(handler_call_details)
            if handler is None:
                return None
            known = self._known[path] = wrapped(path, handler, access_log=self._access_log)
        return known
