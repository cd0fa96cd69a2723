"""What the planner can be told by its environment: `WAYBILL_PLANNER_*`."""

from __future__ import annotations

from pydantic_settings import SettingsConfigDict

from waybill.settings import Port, ServiceSettings


class PlannerSettings(ServiceSettings):
    """Settings of the planner. It needs nothing but its addresses: it keeps no state and calls no one."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_PLANNER_", extra="ignore", populate_by_name=True)

    grpc_port: Port = 7401
    metrics_port: Port = 7491
