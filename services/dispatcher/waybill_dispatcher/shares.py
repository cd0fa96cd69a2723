"""How agents are batched and what tenants weigh: a TOML file of the operator's, read again when it changes."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from waybill.core.limits import AGENT_NAME, MAX_BATCH_STEPS, MAX_BATCH_TARGET_MS, TENANT_NAME
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import BatchTerms
from waybill.telemetry.logs import get_logger

MOST_TABLES = 10_000
MIN_WEIGHT, MAX_WEIGHT = 0.01, 1000.0

_log = get_logger(__name__)
_AgentName = Annotated[str, StringConstraints(pattern=rf"^{AGENT_NAME.pattern}$")]
_TenantName = Annotated[str, StringConstraints(pattern=rf"^{TENANT_NAME.pattern}$")]
_Steps = Annotated[int, Field(ge=1, le=MAX_BATCH_STEPS, strict=True)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AgentShare(_Table):
    """How one agent is batched. What is not set is as the agent's code says; `batch` fixes the number of steps."""

    batch: _Steps | None = None
    min_batch: _Steps | None = None
    max_batch: _Steps | None = None
    target_ms: Annotated[int, Field(ge=1, le=MAX_BATCH_TARGET_MS, strict=True)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.batch is not None and (self.min_batch, self.max_batch, self.target_ms) != (None, None, None):
            raise ValueError("batch fixes the number of steps: leave out min_batch, max_batch and target_ms, or batch")
        if self.min_batch is not None and self.max_batch is not None and self.min_batch > self.max_batch:
            raise ValueError(f"min_batch is {self.min_batch}, and must not be over max_batch, {self.max_batch}")
        return self

    def terms(self) -> BatchTerms:
        """As the ledger takes it."""
        if self.batch is not None:
            return BatchTerms(self.batch, self.batch)
        return BatchTerms(self.min_batch or 0, self.max_batch or 0, self.target_ms or 0)


class TenantShare(_Table):
    """How many times as much as others a tenant gets of an agent that several tenants wait for."""

    weight: Annotated[float, Field(ge=MIN_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)]


class Shares(_Table):
    """The whole file: `[agents.NAME]` and `[tenants.NAME]`."""

    agents: dict[_AgentName, AgentShare] = Field(default={}, max_length=MOST_TABLES)
    tenants: dict[_TenantName, TenantShare] = Field(default={}, max_length=MOST_TABLES)


def read_shares(path: Path) -> Shares:
    """What the file says. Raises ValueError that names every field that is wrong."""
    try:
        return Shares.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{path}: " + "; ".join(_told(item) for item in error.errors())) from error


def _told(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"] if part != "[key]")
    return f"{where}: {item['msg'].removeprefix('Value error, ')}"


class SharesFile:
    """Keeps the ledger's shares as the file says. Without a file they are cleared."""

    def __init__(self, ledger: Ledger, path: Path | None) -> None:
        self._ledger = ledger
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._shares = Shares()

    async def write(self) -> None:
        """Read the file and write what it says; what cannot be read leaves what was read before."""
        self._read()
        batching = {name: share.terms() for name, share in self._shares.agents.items()}
        weights = {name: share.weight for name, share in self._shares.tenants.items()}
        await self._ledger.set_shares(batching, weights)

    async def follow(self) -> None:
        """Write again if the file has changed since."""
        if self._path is not None and self._stamp() != self._seen:
            await self.write()
            _log.info("shares were written anew", agents=len(self._shares.agents), tenants=len(self._shares.tenants))

    def _read(self) -> None:
        if self._path is None:
            return
        self._seen = self._stamp()
        try:
            self._shares = read_shares(self._path)
        except ValueError as error:
            _log.error("the shares file is wrong; what it said before stays", error=str(error))

    def _stamp(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self._path or "")
        except OSError:
            return (0, 0, 0)
        # A mounted config map changes by a new file in the place of the old one.
        return (found.st_mtime_ns, found.st_size, found.st_ino)
