"""What an operator lets the agent `http` do, read where it runs."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from waybill_worker.agents.http_addresses import AllowedNetworks


class HttpSettings(BaseSettings):
    """The part of the worker's settings that the agent `http` reads, in whichever process it runs."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_WORKER_", extra="ignore")

    http_allowed_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """What the agent `http` may fetch from beside public addresses, comma separated: addresses, networks such as
    `10.1.0.0/16`, and host names, where `*.corp.example` is all below it. Default: nothing."""
    http_ca_file: str = ""
    """A PEM file of certificate authorities that the agent `http` trusts beside the public ones."""
    http_max_timeout_seconds: float = Field(default=300.0, gt=0, le=3_600)
    """Longest that one fetch may be asked to take."""

    @field_validator("http_allowed_networks", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("http_ca_file")
    @classmethod
    def _exists(cls, value: str) -> str:
        if value and not os.path.isfile(value):
            raise ValueError("there is no such file")
        return value

    @field_validator("http_allowed_networks")
    @classmethod
    def _check(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AllowedNetworks.of(value)
        return value

    @property
    def allowed(self) -> AllowedNetworks:
        """The allowed networks, parsed."""
        return AllowedNetworks.of(self.http_allowed_networks)
