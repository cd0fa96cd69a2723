"""Who calls the gateway, and how long they wait for the answer."""

from __future__ import annotations

import time
from dataclasses import dataclass

from waybill.rpc.caller import Metadata, metadata_for

_MARGIN_PART = 0.1
_MARGIN_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller's tenant, and the end of their patience in seconds of the monotonic clock."""

    tenant: str
    deadline: float

    @classmethod
    def within(cls, tenant: str, timeout_seconds: float) -> Caller:
        """A caller who waits `timeout_seconds` from now.

        A small part of it is kept back, so that what is slow behind the gateway is answered with UNAVAILABLE and
        not met by the caller's own deadline first.
        """
        margin = min(_MARGIN_PART * timeout_seconds, _MARGIN_SECONDS)
        return cls(tenant, time.monotonic() + timeout_seconds - margin)

    @property
    def remaining_seconds(self) -> float:
        """Time left, never negative."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def metadata(self) -> Metadata:
        """Metadata of calls made for this caller."""
        return metadata_for(self.tenant)
