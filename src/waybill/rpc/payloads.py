"""Payloads: JSON as bytes with its media type. Checked here, at the edge; passed through as bytes everywhere else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec

from waybill.api.v1 import task_pb2

JSON_MEDIA_TYPE = "application/json"
MAX_JSON_DEPTH = 200

Inline = Callable[[bytes], Any]
"""Makes JSON text part of a larger JSON value: `json.loads`, or `msgspec.Raw` where msgspec encodes the whole."""


def json_payload(data: bytes) -> task_pb2.Payload:
    """A payload of JSON text."""
    return task_pb2.Payload(media_type=JSON_MEDIA_TYPE, data=data)


def json_defect(data: bytes) -> str:
    """What keeps `data` from being one JSON value (RFC 8259: no NaN, no Infinity); empty if nothing does."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        return f"is not JSON: {error}"
    except RecursionError:
        return f"is nested over {MAX_JSON_DEPTH} deep; flatten it"
    may_be_deep = data.count(b"{") + data.count(b"[") > MAX_JSON_DEPTH  # most JSON is told from this alone
    return (
        f"is nested over {MAX_JSON_DEPTH} deep; flatten it" if may_be_deep and _is_deeper(value, MAX_JSON_DEPTH) else ""
    )


def payload_defect(payload: task_pb2.Payload, max_bytes: int, *, must_be_object: bool = False) -> str:
    """What is wrong with a payload that must be JSON of at most `max_bytes`; empty if nothing is."""
    if payload.media_type not in ("", JSON_MEDIA_TYPE):
        return f'has the media type "{payload.media_type[:100]}"; send "{JSON_MEDIA_TYPE}"'
    if len(payload.data) > max_bytes:
        return f"has {len(payload.data)} bytes, over the limit of {max_bytes}; send large data as documents"
    if not payload.data:
        return ""
    defect = json_defect(payload.data)
    if not defect and must_be_object and not payload.data.lstrip(b" \t\r\n").startswith(b"{"):
        return "must be a JSON object with the agent's parameters"
    return defect


def payload_to_json(payload: task_pb2.Payload, inline: Inline = json.loads) -> Any:
    """The payload as part of a JSON value: JSON stands inline, anything else as base64 with its media type."""
    if payload.media_type in ("", JSON_MEDIA_TYPE):
        return inline(payload.data) if payload.data else None
    return {"media_type": payload.media_type, "data_base64": base64.b64encode(payload.data).decode()}


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether containers nest deeper than `limit`, found without recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
