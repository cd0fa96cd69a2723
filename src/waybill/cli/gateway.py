"""Owns how commands reach a gateway, and how they print what it says as JSON."""

from __future__ import annotations

import json
from typing import Any

from waybill.client import Client

CALL_PATIENCE_SECONDS = 3.0
"""Somebody sits in front of a command: it says soon that nothing answers."""
WATCH_PATIENCE_SECONDS = 120.0
"""A watch has been in contact, and bears with a restart."""


def client_of(address: str, tenant: str, patience_seconds: float = CALL_PATIENCE_SECONDS) -> Client:
    """A client for one command."""
    return Client(address, tenant=tenant, patience_seconds=patience_seconds)


def json_line(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False)
