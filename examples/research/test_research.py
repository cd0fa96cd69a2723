"""The report answers each question from the notes, and cites them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from research import research

NOTES = Path(__file__).with_name("notes")
QUESTIONS = ("What is a spring tide?", "How are tides ${measured}?")


async def test_every_claim_cites_a_note_where_it_stands(suite: Any) -> None:
    async with suite.async_client() as client:
        report = await research(client, NOTES, QUESTIONS)
    body, _, sources = report.partition("## Sources")
    assert [line[3:] for line in body.splitlines() if line.startswith("## ")] == list(QUESTIONS)
    claims = re.findall(r"^- (.*) \[(\d+)\]", body, re.MULTILINE)
    assert any(claim.startswith("A spring tide is the high tide") for claim, _ in claims)
    assert any("tide gauges" in claim for claim, _ in claims)
    cited = dict(re.findall(r"^- \[(\d+)\] `([\w.]+:\d+)`", sources, re.MULTILINE))
    for claim, number in claims:
        name, _, line = cited[number].partition(":")
        place = (NOTES / name).read_text().splitlines()[int(line) - 1 :]
        assert claim in " ".join(place)
