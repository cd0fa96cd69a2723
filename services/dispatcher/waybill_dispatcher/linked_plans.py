"""Plans that were linked a moment ago: one that comes again, byte for byte, is not linked again."""

from __future__ import annotations

from collections import OrderedDict

from waybill.core.budget import TaskPolicy
from waybill.core.limits import KIB, MIB
from waybill.core.plan import Graph

MAX_PLANS = 1_000
MAX_BYTES = 16 * MIB
MAX_PLAN_BYTES = 4 * MIB
_BYTES_A_STEP = 2 * KIB
"""About what a linked step takes beside the bytes of its plan."""

Key = tuple[bytes, TaskPolicy | None]
"""All that a graph is made from beside the agents: the plan's bytes, and its task's policy."""


class LinkedPlans:
    """Graphs of valid plans, for as long as the agents stay as they are. What was not used for longest goes first."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[Key, tuple[Graph, int]] = OrderedDict()
        self._size_bytes = 0

    def find(self, key: Key) -> Graph | None:
        """The graph of this very plan, if it is kept."""
        kept = self._graphs.get(key)
        if kept is None:
            return None
        self._graphs.move_to_end(key)
        return kept[0]

    def keep(self, key: Key, graph: Graph) -> None:
        """Keep a graph, unless it is too large."""
        size_bytes = len(key[0]) + _BYTES_A_STEP * len(graph.steps)
        if key in self._graphs or size_bytes > MAX_PLAN_BYTES:
            return
        self._graphs[key] = (graph, size_bytes)
        self._size_bytes += size_bytes
        while len(self._graphs) > MAX_PLANS or self._size_bytes > MAX_BYTES:
            _, (_, dropped_bytes) = self._graphs.popitem(last=False)
            self._size_bytes -= dropped_bytes

    def clear(self) -> None:
        """Forget all, as the agents have changed."""
        self._graphs.clear()
        self._size_bytes = 0
