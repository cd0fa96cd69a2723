"""Whether the store answers a worker that is connected to it."""

from __future__ import annotations

import time

from waybill.errors import WaybillError


class Pulse:
    """Hears of every call to the store how it ended. A connection that is refused is an answer too: the store is away,
    and nothing here is stuck; no answer at all is silence.
    """

    def __init__(self) -> None:
        self._heard_at = time.monotonic()
        self._answering_since = self._heard_at
        self._answering = True

    @property
    def silent_seconds(self) -> float:
        """Time since the last answer."""
        return time.monotonic() - self._heard_at

    @property
    def answering_seconds(self) -> float:
        """How long every call has got a reply; 0 while some get none."""
        return time.monotonic() - self._answering_since if self._answering else 0.0

    def answered(self) -> None:
        """A call got its reply."""
        self._heard_at = time.monotonic()
        if not self._answering:
            self._answering, self._answering_since = True, self._heard_at

    def failed(self, error: WaybillError) -> None:
        """A call got none."""
        self._answering = False
        # The store's client has a timeout of its own, of the same name.
        if not any(kind.__name__ == "TimeoutError" for kind in type(error.__cause__).__mro__):
            self._heard_at = time.monotonic()
