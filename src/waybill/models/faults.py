"""Every way in which one call to a provider can fail, and what follows from it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from waybill.core.task import Usage
from waybill.models.told import Told, told_in

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NEVER_AGAIN = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_TRY_AGAIN = frozenset({408, 409, 425})
_MAYBE_BILLED = frozenset({408, 504, 524})
"""Statuses of something between us and the model that gave up waiting: the model may have gone on."""


class FaultKind(StrEnum):
    """What went wrong."""

    CONNECT = "connect"
    """The endpoint cannot be reached."""
    TIMEOUT = "timeout"
    """The first token, or the end, took too long."""
    LIMITED = "limited"
    """The endpoint is asked too often (429)."""
    SERVER = "server"
    """The endpoint has a problem of its own."""
    BROKEN = "broken"
    """The connection ended before the answer did."""
    MALFORMED = "malformed"
    """What came is not the protocol."""
    REFUSED = "refused"
    """The endpoint does not take the request, and no repetition mends that."""


class Fault(Exception):
    """One call failed. `maybe_billed`: it may cost what it cost until then; `usage` is the provider's account, if it
    came. `said` is the provider's own text: it may repeat what was asked, so it is for nobody to see.
    """

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        *,
        status: int = 0,
        maybe_billed: bool = False,
        told: Told | None = None,
        usage: Usage | None = None,
        said: str = "",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.maybe_billed = maybe_billed
        self.told = told or Told()
        self.usage = usage
        self.said = said

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed another time."""
        return self.kind is not FaultKind.REFUSED


def fault_of_status(status: int, headers: Any, body: object) -> Fault:
    """The fault of an answer that is an error."""
    error = body if isinstance(body, dict) else {}
    names = [f"{key} {error[key]}" for key in ("code", "type", "param") if _is_identifier(error.get(key))]
    shown = ", ".join([f"status {status}", *names])
    said = str(error.get("message") or body or "")
    code = error.get("code") or error.get("type")
    told = told_in(headers, throttled=status == 429)
    if status == 429 and code in _NEVER_AGAIN:
        return Fault(FaultKind.REFUSED, f"has no more credit ({shown})", status=status, told=told, said=said)
    if status == 429:
        return Fault(FaultKind.LIMITED, f"is asked too often ({shown})", status=status, told=told, said=said)
    if status in (401, 403):
        return Fault(FaultKind.REFUSED, f"does not accept the key ({shown})", status=status, told=told, said=said)
    if status >= 500 or status in _TRY_AGAIN:
        billed = status in _MAYBE_BILLED
        kind = FaultKind.SERVER
        return Fault(kind, f"has failed ({shown})", status=status, maybe_billed=billed, told=told, said=said)
    return Fault(FaultKind.REFUSED, f"refuses the request ({shown})", status=status, told=told, said=said)


def _is_identifier(value: object) -> bool:
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None
