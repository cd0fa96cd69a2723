"""The client by plain stubs, where no Waybill is installed, on a real suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
WITHOUT_WAYBILL = """
import runpy, sys
from pathlib import Path
sys.path = [path for path in sys.path if not Path(path, "waybill", "__init__.py").exists()]
sys.argv = sys.argv[1:]
try:
    import waybill.errors
except ImportError:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_goal_is_followed_to_its_report_by_generated_stubs(suite: Any, tmp_path: Path) -> None:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    contracts = [f"protos/waybill/api/v1/{name}.proto" for name in ("task", "gateway")]
    generating = ["grpc_tools.protoc", "-I", "protos", f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
    subprocess.run([sys.executable, "-m", *generating, *contracts], cwd=FOLDER, check=True, timeout=60)
    (tmp_path / "tides.md").write_text("A tide is the rise and fall of the sea.")
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_WAYBILL, "client.py", suite.address, "What is a tide?", tmp_path / "tides.md"],
        cwd=FOLDER,
        env={"PYTHONPATH": str(stubs)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert "A tide is the rise and fall of the sea" in ran.stdout
    told = ran.stderr.splitlines()
    assert [int(line.split()[0]) for line in told] == list(range(1, len(told) + 1))
    assert "TASK_FINISHED" in told[-1]
