"""Asking the dispatcher for a caller."""

from __future__ import annotations

from typing import Any

import grpc

from waybill.rpc.status import from_rpc_error
from waybill_gateway.caller import Caller


async def ask(method: Any, request: Any, caller: Caller) -> Any:
    """One call of the dispatcher for a caller, waiting for a dispatcher that restarts as long as they do.

    Raises the `WaybillError` that the dispatcher answers, and `Unavailable` if it does not.
    """
    try:
        return await method(request, timeout=caller.remaining_seconds, metadata=caller.metadata, wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
