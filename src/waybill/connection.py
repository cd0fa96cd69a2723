"""Owns a client's connection to its gateway: calls that are repeated while nothing answers, streams that are not."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from waybill.api.v1 import gateway_pb2_grpc
from waybill.errors import FailedPrecondition, Unavailable, WaybillError
from waybill.rpc.caller import checked_tenant, metadata_for
from waybill.rpc.channel import connect
from waybill.rpc.status import from_rpc_error

_FIRST_WAIT_SECONDS = 0.1
_MAX_WAIT_SECONDS = 2.0
_TRANSPORT_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Connection:
    """One channel to a gateway, for one tenant. `open` it inside the running loop.

    `call_timeout_seconds` is the deadline of one try of a call, `patience_seconds` how long a call goes on trying.
    """

    def __init__(self, address: str, tenant: str, call_timeout_seconds: float, patience_seconds: float) -> None:
        self.address = address
        self.tenant = checked_tenant(tenant)
        self._call_timeout_seconds = call_timeout_seconds
        self.patience_seconds = patience_seconds
        self._channel: grpc.aio.Channel | None = None

    def open(self) -> None:
        """Make the channel; it connects with the first call."""
        self._channel = connect(self.address)
        self._stub = gateway_pb2_grpc.GatewayServiceStub(self._channel)

    async def close(self) -> None:
        """Close the channel and end what is under way on it."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def call(self, method: str, request: Any) -> Any:
        """Make a unary call, repeated while the gateway or what it needs is away.

        Raises the classes of `waybill.errors`, `Unavailable` once the patience is over.
        """
        began = time.monotonic()
        tries = 0
        while True:
            remaining_seconds = began + self.patience_seconds - time.monotonic()
            timeout = min(self._call_timeout_seconds, max(1.0, remaining_seconds))
            try:
                return await self._method(method)(request, timeout=timeout, metadata=metadata_for(self.tenant))
            except grpc.aio.AioRpcError as failed:
                error = self._error(failed)
                if not isinstance(error, Unavailable) or time.monotonic() - began >= self.patience_seconds:
                    raise error from failed
            tries += 1
            await asyncio.sleep(wait_seconds(tries))

    async def stream(self, method: str, request: Any) -> AsyncIterator[Any]:
        """The responses of a streaming call, once: it ends when the server ended it in order.

        Raises the classes of `waybill.errors`, `Unavailable` when it broke.
        """
        call = self._method(method)(request, metadata=metadata_for(self.tenant))
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        finally:
            call.cancel()

    def _method(self, method: str) -> Any:
        if self._channel is None:
            raise FailedPrecondition("the client is not open: use it as `async with Client(...) as client`")
        return getattr(self._stub, method)

    def _error(self, error: grpc.aio.AioRpcError) -> WaybillError:
        """The error of a failed call; one without details of a service came from the transport, and is named so."""
        told = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
        if error.code() in _TRANSPORT_CODES and not told:
            return Unavailable(f"no Waybill gateway answers at {self.address}", reason="GATEWAY_UNREACHABLE")
        return from_rpc_error(error)


def wait_seconds(tries: int) -> float:
    """A wait that doubles with every try up to a limit; half of it is random, so that callers spread."""
    longest = min(_MAX_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** min(tries, 10))
    return longest * random.uniform(0.5, 1.0)
