"""Which modules a worker loads its agents from, so that all its processes load the same."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

from waybill.agent import ENTRY_POINT_GROUP


def agent_modules(configured: Sequence[str], *, entry_points: bool) -> tuple[str, ...]:
    """The configured modules, then those that installed packages announce, each once."""
    announced = metadata.entry_points(group=ENTRY_POINT_GROUP) if entry_points else ()
    return tuple(dict.fromkeys([*configured, *(point.value.split(":")[0] for point in announced)]))
