"""Links lead somewhere, the generated pages are current, and no page tells of a machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *(page for part in ("docs", "protos") for page in (ROOT / part).rglob("*.md")),
        ROOT / "examples" / "README.md",
        *(ROOT / "examples").glob("*/README.md"),  # the others there are what examples read or install
    }
)
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose_of(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def anchors_of(page: Path) -> set[str]:
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(prose_of(page))}


@every_page
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose_of(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_index_lists_every_page_under_its_kind() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    kinds = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", index, re.DOTALL | re.MULTILINE))
    listed = {
        kind: {link for link in LINK.findall(text) if "/" not in link or ".." not in link}
        for kind, text in kinds.items()
    }
    docs = ROOT / "docs"
    assert listed["How to"] == {f"howto/{page.name}" for page in (docs / "howto").glob("*.md")}
    assert listed["Reference"] == {f"reference/{page.name}" for page in (docs / "reference").iterdir()}
    assert listed["Explanation"] | {"quickstart.md", "README.md"} == {"adr", *(page.name for page in docs.glob("*.md"))}


@every_page
def test_no_page_names_a_place_on_a_machine(page: Path) -> None:
    assert re.findall(r"(?:/home/|/root/|/work/|/Users/)\S*", page.read_text()) == []


@every_page
def test_every_page_is_reached_from_the_readme(page: Path) -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        here = waiting.pop().resolve()
        if here.is_dir():
            waiting += here.glob("*.md")
        elif here.suffix == ".md" and here not in reached:
            reached.add(here)
            waiting += [here.parent / link.partition("#")[0] for link in LINK.findall(prose_of(here))]
    assert page in reached


def test_the_reference_pages_are_what_the_code_says() -> None:
    ran = subprocess.run([sys.executable, "-B", ROOT / "docs" / "generate", "--check"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
