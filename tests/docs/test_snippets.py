"""Every command and snippet of the documentation runs; `run_page` says how."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_blocks import blocks_of

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name not in ("adr", "reference")),
]
UNRUN = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "protos").glob("*.md")} - {*PAGES})
EXAMPLES = sorted(page.parent for page in (ROOT / "examples").glob("*/README.md"))
KINDS = ("sh", "python", "json", "yaml", "text")
READ = {"json": json.loads, "yaml": yaml.safe_load}
needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="Node is not installed")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=needs_curl if "curl -s" in page.read_text() else ()) for page in PAGES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_snippet_of_a_page_runs(page: Path, run_page: Callable[[Path], None]) -> None:
    run_page(page)


def test_the_readme_that_init_writes_runs_at_once_in_an_empty_folder(
    run_page: Callable[[Path], None], reader: Callable[..., Any], tmp_path: Path
) -> None:
    written = json.loads(reader("waybill", "init", "--name", "my-agents", "--json").stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written["files"])
    assert [block["kind"] for block in blocks_of(tmp_path / "README.md")] == ["sh", "sh", "sh", "text"]
    run_page(tmp_path / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is_and_is_that(page: Path) -> None:
    blocks = blocks_of(page)
    assert [block["kind"] for block in blocks if block["kind"] not in KINDS] == []
    assert page.read_text().count("```") == 2 * len(blocks)
    for block in blocks:
        if block["kind"] in READ:
            READ[block["kind"]](block["code"])


@pytest.mark.parametrize("page", UNRUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_that_is_not_run_has_nothing_to_run(page: Path) -> None:
    assert [block["kind"] for block in blocks_of(page) if block["kind"] in ("sh", "python")] == []


@pytest.mark.parametrize(
    "example",
    [pytest.param(folder, marks=needs_node if (folder / "package.json").exists() else ()) for folder in EXAMPLES],
    ids=lambda folder: folder.name,
)
def test_every_example_runs_as_its_page_says(example: Path, run_page: Callable[[Path], None], tmp_path: Path) -> None:
    shutil.copytree(
        example, tmp_path, ignore=shutil.ignore_patterns("test_*", "__pycache__", "node_modules"), dirs_exist_ok=True
    )
    run_page(tmp_path / "README.md")


def test_the_output_in_the_readme_has_the_shape_of_the_real_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "waybill.cli.main", "run", "--data-dir", str(tmp_path / "data")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    ran = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=90)
    assert ran.returncode == 0, ran.stderr
    shown = next(block["code"] for block in blocks_of(ROOT / "README.md") if "task_accepted" in block["code"])
    assert HEADINGS.findall(shown) == HEADINGS.findall(ran.stdout)
    assert set(shapes_of(shown)) <= set(shapes_of(f"{ran.stdout}\n{ran.stderr}\n..."))
    report, _, sources = ran.stdout.partition("## Sources")
    assert set(re.findall(r"\[\d+\]$", report, re.MULTILINE)) == set(re.findall(r"^- (\[\d+\])", sources, re.MULTILINE))
    assert str(ROOT) not in ran.stdout


HEADINGS = re.compile(r"^#+ .*$", re.MULTILINE)
SHAPES = {
    re.compile(r"\d\d:\d\d:\d\d\.\d{3} (\w+).*"): r"event \1",
    re.compile(r"- \[\d+\] `\S+:\d+` \u2014 .*"): "source",
    re.compile(r"- .* \[\d+\]"): "claim",
}


def shapes_of(output: str) -> list[str]:
    """What the lines of an output are: events by type, claims, sources, or themselves."""
    lines = output.splitlines()
    for pattern, shape in SHAPES.items():
        lines = [pattern.sub(shape, line) for line in lines]
    return lines
