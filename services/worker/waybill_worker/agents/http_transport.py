"""Connections of the agent `http`: each goes to the very address that was checked, and to none that may not be.

The name of a host is resolved once for a connection, all addresses that it leads to are checked, and the connection is
made to one of those, by number. A name that leads elsewhere the next time it is asked (DNS rebinding) leads nowhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import httpcore
import httpx

from waybill.errors import Permanent
from waybill_worker.agents.http_addresses import AllowedNetworks

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, as the system would try them. Raises OSError if there are none."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses that the system knows of a host. It understands all spellings of numbers that C knows."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses alone. `allowed` is what the operator allows beside public ones."""

    def __init__(self, allowed: AllowedNetworks, resolve: Resolve = resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that answers. Raises Permanent if any of them may not be used."""
        addresses = await self._checked(host, port)
        for rest, address in enumerate(addresses, 1 - len(addresses)):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not rest:
                    raise
        raise httpcore.ConnectError("the host has no address")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never done. Raises Permanent."""
        raise refused("a socket of the machine")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int) -> list[str]:
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name of the host leads nowhere ({type(error).__name__})") from error
        # One address that may not be used spoils all: whoever answers for the name says where it leads.
        if not all(self._allowed.allows(host, ipaddress.ip_address(address)) for address in found):
            raise refused(host)
        return found


class CheckedTransport(httpx.AsyncBaseTransport):
    """Sends requests over a checked network: HTTP/1.1, a connection a request, no proxy."""

    def __init__(self, network: CheckedNetwork, context: ssl.SSLContext) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, max_keepalive_connections=0, http1=True, http2=False, network_backend=network
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises what `httpcore` raises, and Permanent for an address that may not be used."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        response = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Stream(response), extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()


def refused(host: str) -> Permanent:
    """The error for a host that leads to an address which is not public. It does not tell the address."""
    return Permanent(
        f"{host} does not lead to public addresses alone, and nothing else may be fetched from: an operator can allow "
        "more by WAYBILL_WORKER_HTTP_ALLOWED_NETWORKS",
        reason="ADDRESS_REFUSED",
    )
