"""A process that is a bare gRPC server: it answers every unary call with the bytes that it got.

Prints its port and serves until it is ended. What any gateway in Python can reach at best.
"""

from __future__ import annotations

import asyncio

import grpc
import uvloop

LOOPBACK = "127.0.0.1"


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every method."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """The handler, whatever the method."""
        return grpc.unary_unary_rpc_method_handler(_echo)


async def _echo(request: bytes, _context: object) -> bytes:
    return request


async def serve() -> None:
    """Serve on a free port."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
