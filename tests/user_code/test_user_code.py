"""Users' own code passes a strict type checker, and their mistakes do not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = [str(HERE.parents[1] / "src")]


def checked(name: str, folder: Path) -> str:
    """What a strict mypy says of a file, as in a project that has Waybill installed."""
    configuration = folder / "mypy.ini"
    configuration.write_text("[mypy]\nstrict = True\npython_version = 3.11\nplugins = pydantic.mypy\n")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(configuration), "--cache-dir", str(folder / "cache"),
         "--follow-imports", "silent", str(HERE / name)],
        cwd=folder,
        env={**os.environ, "MYPYPATH": os.pathsep.join(SOURCES)},
        capture_output=True,
        text=True,
        timeout=170,
    )  # fmt: skip
    return ran.stdout + ran.stderr


def test_what_users_write_passes(tmp_path: Path) -> None:
    assert checked("user_code.py", tmp_path).startswith("Success")


def test_each_mistake_is_found_and_nothing_else(tmp_path: Path) -> None:
    lines = (HERE / "wrong_code.py").read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    found = {int(number) for number in re.findall(r"wrong_code\.py:(\d+): error", checked("wrong_code.py", tmp_path))}
    assert found == wrong
