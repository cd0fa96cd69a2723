"""What an operator lets the agent `python` do, read where it runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MODULE = "waybill_worker.agents.python"


class PythonSettings(BaseSettings):
    """The part of the worker's settings that the agent `python` reads, in whichever process it runs."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_WORKER_", extra="ignore")

    python_agent: Literal["on", "off"] = "on"
    """Whether this worker has the agent `python`, which runs snippets in a sandbox."""
    python_max_memory_mib: int = Field(default=512, ge=64, le=65_536)
    """Most memory that one snippet may be given."""
    python_max_cpu_seconds: int = Field(default=60, ge=1, le=3_600)
    """Most time of a processor that one snippet may be given."""
