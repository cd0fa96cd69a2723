"""What a tool gave back, as text for the model: cut to size, secrets blotted out, what is no text told in a note."""

from __future__ import annotations

import json

import msgspec
from mcp_types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from waybill.invocation import clean
from waybill_worker.agents.tools_config import ToolServers

MAX_RESULT_CHARS = 32 * 1024
"""Most characters of one result that are kept and shown to the model."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one call: what the model is told, and whether it failed."""

    text: str
    failed: bool = False


def outcome_of(result: CallToolResult, servers: ToolServers) -> Outcome:
    """The outcome that a server's result stands for."""
    parts = [part for block in result.content if (part := _shown(block))]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return Outcome(cut(clean(servers.blot("\n".join(parts)))), result.is_error)


def cut(text: str, limit: int = MAX_RESULT_CHARS) -> str:
    """The text, cut with a mark if it is longer than the limit."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[cut: {len(text) - limit:,} more characters]"


def _shown(block: TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource) -> str:
    if isinstance(block, TextContent):
        return block.text
    if isinstance(block, ImageContent | AudioContent):
        return f"[{block.type} of type {block.mime_type}, {_bytes(block.data)}, not shown]"
    if isinstance(block, ResourceLink):
        return f"[link to {block.uri} ({block.name})]"
    if isinstance(block.resource, TextResourceContents):
        return f"[{block.resource.uri}]\n{block.resource.text}"
    return f"[{block.resource.uri}, {_bytes(block.resource.blob)}, not shown]"


def _bytes(base64_text: str) -> str:
    return f"{len(base64_text) * 3 // 4:,} bytes"
