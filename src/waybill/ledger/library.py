"""The function library: Lua files put together in order, with a tag of their content in every function's name.

The tag lets two releases work on one store side by side: neither replaces the other's functions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from waybill.ledger.keys import lua_table

_SHARED = ("call", "usage", "task", "step", "transition", "queue", "worker", "steer")
"""Files whose local names the following ones use, in order."""
_CLOSED = (
    *("turn", "batch", "request", "pause", "letter", "effect", "artifact", "money", "limit", "line", "learning"),
    *("dependents", "stopping", "patch", "revision", "accepting", "schedule", "claim"),
)
"""Files that are reached through their table alone."""
FUNCTIONS = (
    "submit",
    "lease_planning",
    "postpone_planning",
    "attach_plan",
    "fail_planning",
    "cancel",
    "pause_task",
    "resume_task",
    "retry_task",
    "answer_step",
    "set_paused",
    "begin_effect",
    "end_effect",
    "decide_effect",
    "drop_letter",
    "lease_decisions",
    "decide_step",
    "lease_revisions",
    "postpone_revision",
    "patch_plan",
    "decline_revision",
    "tell_planning",
    "begin_call",
    "end_call",
    "pass_call",
    "drop_call",
    "set_limit",
    "set_tenant_budget",
    "set_schedule",
    "delete_schedule",
    "pause_schedule",
    "lease_schedules",
    "fire_schedule",
    "trigger_schedule",
    "lease_archive",
    "mark_archived",
    "register_worker",
    "unregister_worker",
    "exchange",
    "renew",
    "append_events",
    "read_ends",
    "expire",
    "tick",
    "set_policy",
    "set_shares",
)
"""Every function of the library; each has a file of its name, which says what it does."""


@dataclass(frozen=True, slots=True)
class Library:
    """The source to load, and the tag that ends each function's name."""

    tag: str
    source: str

    @property
    def name(self) -> str:
        """The name under which the store knows the library."""
        return f"waybill_{self.tag}"

    def function(self, name: str) -> str:
        """The name under which the store knows a function."""
        return f"{name}_{self.tag}"


@cache
def library() -> Library:
    """The library of this release."""
    folder = files("waybill.ledger") / "lua"
    sources = [(folder / f"{name}.lua").read_text() for name in _SHARED]
    # Lua allows a chunk 200 local names: a file that others reach through its table keeps its own to itself.
    sources += [f"do\n{(folder / f'{name}.lua').read_text()}\nend" for name in _CLOSED + FUNCTIONS]
    body = lua_table() + "\n".join(sources)
    tag = hashlib.sha256(body.encode()).hexdigest()[:12]
    return Library(tag, f"#!lua name=waybill_{tag}\nlocal TAG = '{tag}'\n{body}")
