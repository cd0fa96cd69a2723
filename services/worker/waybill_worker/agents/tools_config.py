"""What the operator configures about MCP servers: the file of `WAYBILL_WORKER_MCP_CONFIG_FILE`, read and checked.

A step can only name servers that stand there; what they are started with never leaves this process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MAX_CONFIG_BYTES = 1024 * 1024
SERVER_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_LEAST_SECRET_CHARS = 6
"""Shorter values of variables are not blotted out: they would be found inside ordinary words."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BLOT = "***"


class ToolSettings(BaseSettings):
    """The part of the worker's settings that the agent `tools` reads where it runs."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_WORKER_", extra="ignore")

    mcp_config_file: str = ""
    """JSON file of the MCP servers whose tools the agent `tools` may call. Default: none."""


class ConfigInvalid(ValueError):
    """The file cannot be used; the text is for the operator, names the field, and holds no value of it."""


class ToolServer(BaseModel):
    """One MCP server: a command that speaks over its stdin and stdout, or a URL of streamable HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    type: Literal["stdio", "http", "streamable-http"] | None = None
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str = ""
    url: str = ""
    headers: dict[str, str] = {}
    recipients: dict[str, tuple[Annotated[str, Field(min_length=1)], ...]] = {}
    """By tool, the arguments whose values name recipients, one or lists of them."""
    timeout_seconds: float = Field(default=60.0, ge=0.1, le=3600.0)
    """How long one call may take."""
    trust_annotations: bool = False
    """Whether to believe the server that a tool is read-only or idempotent, so that a call in doubt may be repeated."""

    @model_validator(mode="after")
    def _check(self) -> ToolServer:
        if bool(self.command) == bool(self.url):
            raise ValueError("give either a command or a url")
        if self.url and (self.args or self.env or self.cwd):
            raise ValueError("args, env and cwd go with a command, not with a url")
        if self.command and self.headers:
            raise ValueError("headers go with a url, not with a command")
        if self.type and (self.type == "stdio") != bool(self.command):
            raise ValueError("the type does not fit: stdio goes with a command, http with a url")
        parts = urlsplit(self.url)
        if self.url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("the url must be one of http or https, with a host")
        return self

    def recipients_of(self, tool: str) -> tuple[str, ...]:
        """The arguments of a tool that name recipients."""
        return self.recipients.get(tool, ())


class ToolServers:
    """The configured servers by name, and the secrets that were put into them."""

    def __init__(self, servers: Mapping[str, ToolServer], secrets: Iterable[str] = ()) -> None:
        self._servers = dict(servers)
        self._secrets = sorted({one for one in secrets if len(one) >= _LEAST_SECRET_CHARS}, key=len, reverse=True)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all servers."""
        return tuple(sorted(self._servers))

    def get(self, name: str) -> ToolServer | None:
        """One server, if it is configured."""
        return self._servers.get(name)

    def blot(self, text: str) -> str:
        """The text without the secrets, wherever a server has repeated one."""
        for secret in self._secrets:
            text = text.replace(secret, _BLOT)
        return text

    @classmethod
    def from_environment(cls) -> ToolServers:
        """The servers of this process's environment; none without a file. Raises ConfigInvalid."""
        path = ToolSettings().mcp_config_file
        return cls.load(Path(path), os.environ) if path else cls({})

    @classmethod
    def load(cls, path: Path, environment: Mapping[str, str]) -> ToolServers:
        """The servers of a file, `${NAME}` replaced from the environment. Raises ConfigInvalid."""
        variables = _Variables(environment)
        try:
            raw = _file_adapter.validate_json(_content(path), strict=True)
            servers = raw.servers
            return cls(
                {name: _server(name, entry, variables) for name, entry in servers.items()},
                [*variables.used, *(value for entry in servers.values() for value in _headers(entry, variables))],
            )
        except ValidationError as error:
            raise ConfigInvalid(f"{path}: {_shown(error)}") from None
        except ConfigInvalid as error:
            raise ConfigInvalid(f"{path}: {error}") from None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    servers: dict[Annotated[str, Field(pattern=SERVER_NAME)], dict[str, JsonValue]] = Field(alias="mcpServers")


class _Variables:
    """Puts variables of the environment into values, and remembers which values those were."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.used: set[str] = set()

    def put_into(self, value: Any, field: str) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(lambda match: self._value(match[1], field), value)
        if isinstance(value, list):
            return [self.put_into(item, f"{field}.{number}") for number, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.put_into(item, f"{field}.{key}") for key, item in value.items()}
        return value

    def _value(self, name: str, field: str) -> str:
        value = self._environment.get(name)
        if value is None:
            raise ConfigInvalid(f"{field}: the environment has no variable {name}")
        self.used.add(value)
        return value


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(f"cannot be read ({(error.strerror or type(error).__name__).lower()})") from None
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigInvalid(f"is larger than {MAX_CONFIG_BYTES:,} bytes")
    return content


def _server(name: str, entry: Mapping[str, Any], variables: _Variables) -> ToolServer:
    field = f"mcpServers.{name}"
    if entry.get("type") == "sse":
        raise ConfigInvalid(f"{field}.type: the transport sse is not supported; use streamable HTTP")
    try:
        return ToolServer.model_validate(variables.put_into(dict(entry), field))
    except ValidationError as error:
        raise ConfigInvalid(_shown(error, field)) from None


def _headers(entry: Mapping[str, Any], variables: _Variables) -> list[str]:
    """Every header is taken for a secret, wherever its value stands."""
    return list(variables.put_into(entry.get("headers") or {}, "headers").values())


def _shown(error: ValidationError, prefix: str = "") -> str:
    """What is wrong and where, without what stands there."""
    shown = []
    for item in error.errors(include_input=False, include_context=False, include_url=False):
        place = ".".join(str(part) for part in (prefix, *item["loc"]) if str(part))
        shown.append(f"{place}: {item['msg']}" if place else item["msg"])
    return "; ".join(shown[:3])


_file_adapter = TypeAdapter(_File)
