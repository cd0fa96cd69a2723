"""What an operator can set about a worker, read once from the environment `WAYBILL_WORKER_*`."""

from __future__ import annotations

import socket
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from waybill.settings import RedisSettings, ServiceSettings

_WILDCARD_HOSTS = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104 - compared with, never bound to


class WorkerSettings(ServiceSettings, RedisSettings):
    """Settings of one worker process. What its agents may read (`WAYBILL_WORKER_SOURCE_ROOTS`) is theirs to look up."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_WORKER_")

    grpc_port: int = 7403
    metrics_port: int = 7493
    name: str = Field(default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    """Stable name of this worker: a new process of the same name takes over what the old one held."""
    agents: Annotated[tuple[str, ...], NoDecode] = ()
    """Python modules to load agents from, comma separated, besides the entry points `waybill.agents`."""
    entry_points: bool = True
    """Whether to load the agents that installed packages announce."""
    slots: int = Field(default=16, ge=1, le=1024)
    """Steps that run at once."""
    advertised_host: str = ""
    """Host under which others reach this worker; empty means `host`, or the machine's name if that is a wildcard."""

    @field_validator("agents", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("name", mode="before")
    @classmethod
    def _without_dots(cls, value: Any) -> Any:
        # A worker id is `<name>.<random>`, and host names come with dots.
        return value.replace(".", "-")[:64] if isinstance(value, str) else value

    def address(self, port: int) -> str:
        """`host:port` to announce, given the port that is really bound."""
        host = self.advertised_host or (socket.gethostname() if self.host in _WILDCARD_HOSTS else self.host)
        return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
