"""What every service can be told by its environment. Each service subclasses these once, with its own prefix."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 takes a free one."""


class ServiceSettings(BaseSettings):
    """Addresses and process behaviour of one service. A subclass sets `env_prefix` and its own default ports."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True)

    host: str = "127.0.0.1"
    """Address that all servers of the process bind. Nothing is authenticated: keep it on a trusted network."""
    grpc_port: Port = 0
    """Port of the gRPC server."""
    metrics_port: Port = 0
    """Port of the Prometheus endpoint, `/metrics`."""
    log_level: LogLevel = "INFO"
    """Least severe level that is logged."""
    shutdown_grace_seconds: float = Field(default=20.0, ge=0.0, le=3600.0)
    """Longest time that calls in flight get to finish once the process is asked to stop."""
    stuck_seconds: float = Field(default=30.0, ge=1.0, le=3600.0)
    """After so long a stuck event loop ends the process (exit code 70), and silence of the store its liveness."""


class RedisSettings(BaseSettings):
    """Where the store is. The variable is `WAYBILL_REDIS_URL` for every service that touches it."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True)

    redis_url: str = Field(default="redis://127.0.0.1:6379/0", validation_alias="WAYBILL_REDIS_URL")
    """URL of the store: `redis://`, `unix://`, `redis+sentinel://` or `redis+cluster://`, with `rediss` for TLS."""
