"""Which modules a worker loads its agents from, so that all its processes load the same."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

from waybill.agent import ENTRY_POINT_GROUP
from waybill_worker.agents import python_settings


def agent_modules(configured: Sequence[str], *, entry_points: bool) -> tuple[str, ...]:
    """The configured modules, then those that installed packages announce, each once; without what is turned off."""
    announced = metadata.entry_points(group=ENTRY_POINT_GROUP) if entry_points else ()
    modules = dict.fromkeys([*configured, *(point.value.split(":")[0] for point in announced)])
    if python_settings.PythonSettings().python_agent == "off":
        modules.pop(python_settings.MODULE, None)
    return tuple(modules)
