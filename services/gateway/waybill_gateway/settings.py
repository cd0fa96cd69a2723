"""What the gateway can be told by its environment, `WAYBILL_GATEWAY_*`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from waybill.core.limits import MAX_MESSAGE_BYTES
from waybill.settings import Port, ServiceSettings


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
