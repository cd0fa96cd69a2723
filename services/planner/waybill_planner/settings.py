"""What the planner can be told by its environment: `WAYBILL_PLANNER_*`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from waybill.core.limits import MAX_BUDGET_MICROUSD
from waybill.settings import Port, ServiceSettings


class PlannerSettings(ServiceSettings):
    """Settings of the planner. It keeps no state; a model, if there is one, is configured by `WAYBILL_LLM_*`."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_PLANNER_", extra="ignore", populate_by_name=True)

    grpc_port: Port = 7401
    metrics_port: Port = 7491
    max_cost_microusd: int = Field(default=500_000, ge=0, le=MAX_BUDGET_MICROUSD)
    """Most that the model calls of one planning may cost, in millionths of a US dollar; a task's budget may allow
    less."""
    templates: Path | None = None
    """Folder of plan templates, files in YAML or JSON. They are read again when they change. Default: no templates."""

    @field_validator("templates", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value or None
