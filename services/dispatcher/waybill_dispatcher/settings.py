"""What the dispatcher can be told by its environment."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from waybill.ledger.connection import Replicas
from waybill.settings import RedisSettings, ServiceSettings
from waybill_dispatcher.shares import read_shares


class DispatcherSettings(ServiceSettings, RedisSettings):
    """Settings of the dispatcher, `WAYBILL_DISPATCHER_*`, with the batching and retention policy it owns."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_DISPATCHER_", hide_input_in_errors=True)

    grpc_port: int = 7402
    metrics_port: int = 7492
    planner_address: str = "127.0.0.1:7401"
    """gRPC target of the planner."""
    planning_timeout_seconds: float = Field(default=10.0, gt=0, le=600)
    """Longest time that planning one goal may take without a model before it is tried again."""
    planning_model_timeout_seconds: float = Field(default=300.0, gt=0, le=3600)
    """Longest time that the planner may take with a model; a goal is planned without it then."""
    planning_concurrency: int = Field(default=32, ge=1, le=1000)
    """Goals that this process has planned at once, and plans that it has revised at once."""
    batch_target_ms: int = Field(default=50, ge=1, le=60_000)
    """Run time that a batch of steps is sized for, by the agent's measured mean; agents can have their own."""
    queue_window: int = Field(default=64, ge=1, le=10_000)
    """Most idle workers of an agent that are woken up at once; what they do not take waits in the fair waiting room."""
    shares_file: Path | None = None
    """TOML file that says how single agents are batched and what tenants weigh; read again when it changes."""
    retention_seconds: int = Field(default=7 * 24 * 3600, ge=1, le=10 * 365 * 24 * 3600)
    """How long ended tasks are kept."""
    accept_replicas: int = Field(default=0, ge=0, le=16)
    """Replicas of the store that must have a task before it counts as accepted; 0 waits for none."""
    accept_replicas_timeout_ms: int = Field(default=1_000, ge=1, le=60_000)
    """Longest wait for those replicas; then the submission is refused as UNAVAILABLE, and can be repeated."""
    retention_count: int = Field(default=0, ge=0, le=100_000_000)
    """Most ended tasks that are kept of each tenant: the oldest go before their time. 0 keeps all."""
    max_process_deaths: int = Field(default=3, ge=1, le=100)
    """Processes that a step may kill, running alone in each, before it is a dead letter."""
    max_worker_losses: int = Field(default=25, ge=1, le=10_000)
    """Workers that may go away while they hold a step before it is a dead letter."""
    archive_url: str = ""
    """SQL database that keeps ended tasks: `sqlite:////path/of/file` or `postgresql+psycopg://user:password@host/name`.
    None when empty."""
    archive_wait_seconds: int = Field(default=24 * 3600, ge=0, le=10 * 365 * 24 * 3600)
    """How long past its retention a task waits in the store for an archive that is away; then it is lost to it."""

    @field_validator("shares_file", mode="before")
    @classmethod
    def _none_if_empty(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("shares_file")
    @classmethod
    def _readable_shares(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_shares(path)
        return path

    @field_validator("archive_url")
    @classmethod
    def _usable_url(cls, url: str) -> str:
        """The URL of a database that the archive can use. Loads what reads URLs only where there is one."""
        if not url:
            return url
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ValueError("is not the URL of a database") from None
        if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
            raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
        if parsed.drivername != "postgresql+psycopg" and parsed.database in (None, "", ":memory:"):
            raise ValueError("must name a file, as sqlite:////path/of/file does")
        if parsed.drivername == "postgresql+psycopg" and find_spec("psycopg") is None:
            raise ValueError("needs the driver of PostgreSQL: pip install 'waybill[postgres]'")
        return url

    def replicas(self) -> Replicas:
        """What must have a task before it counts as accepted."""
        return Replicas(self.accept_replicas, self.accept_replicas_timeout_ms)

    def policy(self) -> dict[str, int]:
        """What the ledger's functions read of this."""
        return {
            "batch_target_ms": self.batch_target_ms,
            "queue_window": self.queue_window,
            "retention_ms": self.retention_seconds * 1000,
            "retention_count": self.retention_count,
            "max_deaths": self.max_process_deaths,
            "max_losses": self.max_worker_losses,
            "archive": int(bool(self.archive_url)),
            "archive_wait_ms": self.archive_wait_seconds * 1000,
        }
