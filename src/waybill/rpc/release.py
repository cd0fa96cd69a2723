"""Which release a service is of: told in the metadata of answers, so that a client can say it to people."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

RELEASE_KEY = "x-waybill-release"
RELEASE = ((RELEASE_KEY, version("waybill")),)


def release_of(metadata: Iterable[Any] | None) -> str:
    """The release that an answer's metadata tells; empty if it tells none."""
    return next((str(value) for key, value in metadata or () if key == RELEASE_KEY), "")
