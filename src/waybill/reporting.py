"""What an attempt may report while it runs: spending, streamed text and progress, each within its bounds."""

from __future__ import annotations

import math

from waybill.core.limits import MAX_EVENT_MESSAGE_CHARS
from waybill.core.task import Event, EventType, Usage
from waybill.errors import Permanent
from waybill.invocation import clean

MAX_SPEND = 10**12
"""Most that one call of `Context.spend` may report of each kind."""
MAX_TEXT_CHARS = 16 * 1024 * 1024
"""Most text that one attempt may stream."""


def progress_event(message: str, fraction: float | None) -> Event:
    """The event of one report of progress, the message cut and the fraction put between 0.0 and 1.0."""
    if fraction is not None:
        fraction = None if math.isnan(fraction) else min(max(fraction, 0.0), 1.0)
    return Event(type=EventType.STEP_PROGRESS, message=clean(message)[:MAX_EVENT_MESSAGE_CHARS], fraction=fraction)


def usage_of(input_tokens: int, output_tokens: int, cost_microusd: int) -> Usage:
    """The usage that an agent reports. Raises ValueError for a negative, fractional or absurd amount."""
    for name, amount in (
        ("input_tokens", input_tokens),
        ("output_tokens", output_tokens),
        ("cost_microusd", cost_microusd),
    ):
        if not isinstance(amount, int) or not 0 <= amount <= MAX_SPEND:
            raise ValueError(f"spend: {name} is {_shown(amount)}, and must be a whole number from 0 to {MAX_SPEND}")
    return Usage(input_tokens, output_tokens, cost_microusd)


def streamed_chars(before: int, text: str) -> int:
    """The characters that an attempt has streamed with this text. Raises Permanent if those are too many."""
    if before + len(text) > MAX_TEXT_CHARS:
        raise Permanent(
            f"the attempt streams more than {MAX_TEXT_CHARS} characters: store so much text elsewhere, and tell where",
            reason="TEXT_TOO_LARGE",
        )
    return before + len(text)


def _shown(amount: object) -> str:
    return repr(amount) if not isinstance(amount, int) or abs(amount) < 10**20 else "enormous"
