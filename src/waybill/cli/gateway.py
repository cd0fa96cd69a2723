"""Owns how commands reach a gateway, and how they print what it says as JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from waybill.client import Client
from waybill.errors import InvalidArgument

CALL_PATIENCE_SECONDS = 3.0
"""Somebody sits in front of a command: it says soon that nothing answers."""
WATCH_PATIENCE_SECONDS = 120.0
"""A watch has been in contact, and bears with a restart."""
_ADDRESS = re.compile(r"(?:dns:(?:///)?|ipv[46]:)?\S+:\d{1,5}|unix(?:-abstract)?:\S+")
"""What gRPC takes for an address, as far as people write it."""


def client_of(address: str, tenant: str, patience_seconds: float = CALL_PATIENCE_SECONDS) -> Client:
    """A client for one command. Raises `InvalidArgument` for an address or a tenant that can be none."""
    return Client(checked_address(address), tenant=tenant, patience_seconds=patience_seconds)


def checked_address(address: str) -> str:
    """The address itself if it can be one. Raises `InvalidArgument` otherwise."""
    if not _ADDRESS.fullmatch(address):
        raise InvalidArgument.of_field("--address", f"{address!r} is not of the form HOST:PORT, as 127.0.0.1:7400")
    return address


def json_line(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False)
