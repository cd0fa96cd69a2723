"""Two agents of a user's own: one counts the words of a text, one adds up what several others counted."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel

from waybill import Context, agent


class Words(BaseModel):
    """How often each word occurs, the most frequent first."""

    total: int
    top: dict[str, int]


@agent
def count_words(text: str, limit: int = 5) -> Words:
    """Count the words of a text. A plain function: it runs in a process of its own."""
    counted = Counter(text.lower().split())
    return Words(total=counted.total(), top=dict(counted.most_common(limit)))


@agent
async def add_up(ctx: Context, counts: list[Words], limit: int = 5) -> Words:
    """Add up several counts, and tell watchers how far it is."""
    sums: Counter[str] = Counter()
    for done, count in enumerate(counts, 1):
        sums.update(count.top)
        ctx.progress(f"{done} of {len(counts)} texts", done / len(counts))
    return Words(total=sum(count.total for count in counts), top=dict(sums.most_common(limit)))
