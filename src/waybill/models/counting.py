"""The most that a call can use, known before it is made: what budgets and rate limits reserve for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from waybill.core.task import Usage

TOKENS_PER_MESSAGE = 16
"""More than any chat template adds around a message."""
TOKENS_PER_CALL = 64
TOKENS_FOR_TOOLS = 1_024
"""More than templates say about the use of tools and of schemas, besides the tools and schemas themselves."""


def worst_case(body: Mapping[str, Any], max_output_tokens: int) -> Usage:
    """An upper bound of the tokens of a request body. No tokenizer makes more tokens of a text than it has bytes."""
    prompt = {name: body[name] for name in ("messages", "tools", "response_format") if name in body}
    tokens = len(msgspec.json.encode(prompt)) + TOKENS_PER_MESSAGE * len(body["messages"]) + TOKENS_PER_CALL
    if len(prompt) > 1:
        tokens += TOKENS_FOR_TOOLS
    return Usage(input_tokens=tokens, output_tokens=max_output_tokens)
