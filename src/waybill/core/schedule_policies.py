"""What a schedule does where it cannot fire as planned. Apart from the rest, for those that only offer the choice."""

from __future__ import annotations

from enum import StrEnum


class Overlap(StrEnum):
    """What a firing does while a task of an earlier one has not ended, spelled as in JSON."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL = "cancel"
    ALLOW = "allow"


class CatchUp(StrEnum):
    """What becomes of firings that were missed because no dispatcher ran, spelled as in JSON."""

    LATEST = "latest"
    ALL = "all"
    NONE = "none"
