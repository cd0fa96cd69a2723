"""Every command and snippet of the documentation runs.

The blocks of one page run in order, in one folder. A block under `<!-- file: NAME -->` is written to that file. A
`waybill up` keeps running until the end of its page; a page without one gets a shared suite. `make` commands install
or recurse, so they are only checked to be targets. `text` blocks are output.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name not in ("adr", "reference")),
]
BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
UP = re.compile(r"^.*\bwaybill up\b.*$", re.MULTILINE)
KINDS = ("sh", "python", "json", "text")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def blocks_of(page: Path) -> list[re.Match[str]]:
    return list(BLOCK.finditer(page.read_text()))


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=needs_curl if "curl -s" in page.read_text() else ()) for page in PAGES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_snippet_of_a_page_runs(
    page: Path,
    shared_suite: Any,
    start: Callable[[str], Any],
    reader: Callable[..., subprocess.CompletedProcess[str]],
    service_ports: dict[str, str],
    tmp_path: Path,
) -> None:
    suite = shared_suite
    for block in blocks_of(page):
        kind, code = block["kind"], block["code"].replace(".venv/bin/", "")
        if block["file"]:
            (tmp_path / block["file"]).write_text(code)
        elif kind == "python":
            reader(sys.executable, "-c", suite.addressed(code))
        elif kind == "sh" and (up := UP.search(code)):
            suite = start(up[0])
        elif kind == "sh" and code.startswith("make "):
            reader("bash", "-euc", re.sub(r"^make ", "make -n ", code, flags=re.MULTILINE), cwd=ROOT)
        elif kind == "sh" and "python -m waybill_" in code:
            code = code.replace("redis://127.0.0.1:6379/0", suite.redis_url())
            code = code.replace("127.0.0.1:7480", f"127.0.0.1:{service_ports['WAYBILL_GATEWAY_HTTP_PORT']}")
            reader("bash", "-uc", code, **service_ports)
        elif kind == "sh":
            reader(
                "bash", "-euo", "pipefail", "-c", suite.addressed(code), WAYBILL_ADDRESS=f"127.0.0.1:{suite.grpc_port}"
            )
    for test in tmp_path.glob("test_*.py"):
        reader(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", test.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is(page: Path) -> None:
    blocks = blocks_of(page)
    assert [block["kind"] for block in blocks if block["kind"] not in KINDS] == []
    assert page.read_text().count("```") == 2 * len(blocks)


def test_the_example_plan_runs_with_the_agents_beside_it(
    start: Callable[[str], Any], reader: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder = ROOT / "examples" / "wordcount"
    suite = start(f"PYTHONPATH={folder} WAYBILL_WORKER_AGENTS=wordcount waybill up")
    submit = ("waybill", "submit", "--plan", str(folder / "plan.json"), "--input", '{"verb": "barks"}', "--watch")
    ran = reader(*submit, WAYBILL_ADDRESS=f"127.0.0.1:{suite.grpc_port}")
    assert "task_finished   succeeded" in ran.stdout


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
