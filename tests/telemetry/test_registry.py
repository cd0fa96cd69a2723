"""The page on telemetry names every span and span event that the code can make, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from waybill.telemetry import conventions
from waybill.telemetry.conventions import SpanForm

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "telemetry.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = PAGE.split(f"### {heading}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quoted(cell: str) -> frozenset[str]:
    return frozenset(re.findall(r"`([^`]+)`", cell))


def test_the_page_tells_the_spans_that_the_code_makes() -> None:
    told = {(name.strip("`"), kind, quoted(attributes)) for name, kind, attributes, _ in rows("Spans")}
    assert told == {(form.name, form.kind.name, form.attributes) for form in conventions.FORMS}


def test_the_page_tells_the_events_that_the_code_makes() -> None:
    assert {name.strip("`"): quoted(attributes) for name, attributes, _ in rows("Span events")} == conventions.EVENTS


def test_every_form_is_listed_and_used() -> None:
    forms = {name: form for name, form in vars(conventions).items() if isinstance(form, SpanForm)}
    assert set(forms.values()) == set(conventions.FORMS)
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "services").glob("*/waybill_*/**/*.py")]
    code = "\n".join(path.read_text() for path in sources if path.name != "conventions.py")
    assert [name for name in forms if f"conventions.{name}" not in code] == []
