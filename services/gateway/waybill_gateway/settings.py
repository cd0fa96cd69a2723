"""What the gateway can be told by its environment, `WAYBILL_GATEWAY_*`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from waybill.core.limits import MAX_MESSAGE_BYTES
from waybill.settings import Port, ServiceSettings

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


class GatewaySettings(ServiceSettings):
    """Settings of one gateway process."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_GATEWAY_")

    grpc_port: Port = 7400
    """Port of the gRPC server."""
    http_port: Port = 7480
    """Port of the HTTP server."""
    metrics_port: Port = 7490
    """Port of the Prometheus endpoint."""
    dispatcher_address: str = "127.0.0.1:7402"
    """gRPC target of the dispatcher."""
    call_timeout_seconds: float = Field(default=15.0, gt=0.0, le=600.0)
    """Longest time of a call whose caller sets no deadline, which over HTTP is every one."""
    max_body_bytes: int = Field(default=MAX_MESSAGE_BYTES, ge=1024)
    """Largest body of an HTTP request."""
    sse_ping_seconds: float = Field(default=15.0, gt=0.0, le=600.0)
    """Time between comments that keep an idle event stream alive through proxies."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins, separated by commas, whose web pages may call the gateway besides its own, such as
    `https://ops.example.com`; `*` lets all in. Without any, what pages of other origins send is refused if it changes
    something, and they cannot read the answer if it does not.
    """

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _check(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: write scheme and host, and nothing behind the port")
        return value
