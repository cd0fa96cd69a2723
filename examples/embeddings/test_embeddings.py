"""What is searched for is found, by the same vectors everywhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from embeddings import DIMENSIONS, embed, nearest, search

from waybill.testing import run_agent

SAYINGS = Path(__file__).with_name("sayings.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("a brid in hand", "A bird in the hand is worth two in the bush."),
        ("cooks spoil", "Too many cooks spoil the broth."),
        ("do as the ${Romans} do", "When in Rome, do as the Romans do."),
    ],
)
def test_a_part_of_a_saying_finds_it(suite: Any, query: str, found: str) -> None:
    with suite.client() as client:
        hits = search(client, SAYINGS, query)
    assert hits[0][0] == found
    assert [cosine for _, cosine in hits] == sorted((cosine for _, cosine in hits), reverse=True)


@pytest.mark.parametrize("text", ["", "a", "Still waters run deep.", "Stille Wasser sind tief, ja tief \U0001f30a"])
async def test_a_vector_has_the_length_one_and_is_nearest_to_itself(text: str) -> None:
    vector = (await run_agent(embed, {"text": text})).output
    assert len(vector) == DIMENSIONS
    assert math.isclose(math.hypot(*vector), 1.0 if text else 0.0, abs_tol=1e-4)
    others = [(await run_agent(embed, {"text": saying})).output for saying in SAYINGS[:3]]
    ((place, cosine), *_) = nearest(vector, [*others, vector])
    assert not text or (place, round(cosine)) == (3, 1)
