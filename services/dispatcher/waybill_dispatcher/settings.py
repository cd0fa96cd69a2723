"""What the dispatcher can be told by its environment."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from waybill.settings import RedisSettings, ServiceSettings


class DispatcherSettings(ServiceSettings, RedisSettings):
    """Settings of the dispatcher, `WAYBILL_DISPATCHER_*`, with the batching and retention policy it owns."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_DISPATCHER_")

    grpc_port: int = 7402
    metrics_port: int = 7492
    planner_address: str = "127.0.0.1:7401"
    """gRPC target of the planner."""
    planning_timeout_seconds: float = Field(default=10.0, gt=0, le=600)
    """Longest time that planning one goal may take before it is tried again."""
    planning_concurrency: int = Field(default=8, ge=1, le=1000)
    """Goals that this process has planned at once."""
    batch_target_ms: int = Field(default=50, ge=1, le=60_000)
    """Run time that a batch of steps is sized for, by the agent's measured mean."""
    queue_window: int = Field(default=64, ge=1, le=10_000)
    """Most batches in one queue; what is over waits in the fair waiting room."""
    retention_seconds: int = Field(default=7 * 24 * 3600, ge=1, le=10 * 365 * 24 * 3600)
    """How long ended tasks are kept."""

    def policy(self) -> dict[str, int]:
        """What the ledger's functions read of this."""
        return {
            "batch_target_ms": self.batch_target_ms,
            "queue_window": self.queue_window,
            "retention_ms": self.retention_seconds * 1000,
        }
