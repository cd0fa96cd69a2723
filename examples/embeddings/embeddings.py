"""Embeds texts in batches and searches them: `python embeddings.py FILE QUERY`."""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from waybill import PlanBuilder, SyncClient, agent

DIMENSIONS = 256
GRAMS = (3, 4)


@agent(max_batch=64)
async def embed(text: str) -> list[float]:
    """Embed a text: count its character n-grams by a hash of each, and make the vector one long."""
    padded = f" {' '.join(text.lower().split())} "
    grams = (padded[at : at + size] for size in GRAMS for at in range(len(padded) - size + 1))
    counts = Counter(int.from_bytes(blake2b(gram.encode(), digest_size=4).digest()) % DIMENSIONS for gram in grams)
    length = math.sqrt(sum(count * count for count in counts.values())) or 1.0
    return [round(counts[at] / length, 6) for at in range(DIMENSIONS)]


@agent
def nearest(query: list[float], vectors: list[list[float]], limit: int = 3) -> list[tuple[int, float]]:
    """Find the vectors that are most similar to one, as their places and cosines, the best first."""
    cosines = [sum(a * b for a, b in zip(query, vector, strict=True)) for vector in vectors]
    best = sorted(range(len(vectors)), key=lambda at: -cosines[at])[:limit]
    return [(at, round(cosines[at], 3)) for at in best]


def plan_of(texts: Sequence[str], query: str) -> PlanBuilder:
    """A step for every text and for the query, and the search over all of them."""
    plan = PlanBuilder()
    vectors = [plan.step(f"text-{at}", embed, text=plan.literal(text)) for at, text in enumerate(texts)]
    asked = plan.step("query", embed, text=plan.literal(query))
    plan.step("search", nearest, query=asked, vectors=vectors)
    return plan


def search(client: SyncClient, texts: Sequence[str], query: str) -> list[tuple[str, float]]:
    """The texts that are nearest to the query, with their cosines."""
    with client.run(plan=plan_of(texts, query)) as run:
        return [(texts[at], cosine) for at, cosine in run.result()]


def main(file: str, query: str) -> None:
    """Ask the suite at WAYBILL_ADDRESS, or the one on this machine."""
    texts = Path(file).read_text().splitlines()
    with SyncClient(os.environ.get("WAYBILL_ADDRESS", "127.0.0.1:7400")) as client:
        for text, cosine in search(client, texts, query):
            print(f"{cosine:.3f}  {text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
