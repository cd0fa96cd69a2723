"""Owns `waybill version`: the release of this command, and of the gateway if one answers."""

from __future__ import annotations

import platform

import grpc

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc
from waybill.cli import exits
from waybill.cli.gateway import checked_address, json_line
from waybill.rpc.channel import connect
from waybill.rpc.release import RELEASE, release_of

_ANSWER_SECONDS = 2.0


async def version(address: str, *, as_json: bool) -> int:
    """Print the versions. Raises `InvalidArgument` for what is no address."""
    gateway = await _gateway_release(checked_address(address))
    ((_, release),) = RELEASE
    told = {"waybill": release, "python": platform.python_version(), "address": address, "gateway": gateway}
    if as_json:
        print(json_line({**told, "gateway": gateway or None}))
    else:
        print(f"waybill {release} (Python {told['python']})")
        print(f"gateway {gateway} at {address}" if gateway else f"no gateway answers at {address}")
    return exits.OK


async def _gateway_release(address: str) -> str:
    """The release of the gateway there, "unknown" while it can do nothing but refuse; empty if none answers soon."""
    async with connect(address) as channel:
        call = gateway_pb2_grpc.GatewayServiceStub(channel).ListAgents(
            gateway_pb2.ListAgentsRequest(), timeout=_ANSWER_SECONDS
        )
        try:
            await call
        except grpc.aio.AioRpcError as error:
            refused = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
            return "unknown" if refused else ""
        return release_of(await call.trailing_metadata()) or "unknown"
