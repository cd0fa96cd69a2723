"""The agent `python`: each way in which a snippet ends is the result or the error that it should be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from waybill_worker.agents import python as python_module
from waybill_worker.agents.python import python
from waybill_worker.loading import agent_modules
from waybill_worker.sandbox import launch
from waybill_worker.sandbox.folder import Folder

from waybill.errors import AgentError, Permanent
from waybill.testing import run_agent

MODULE = "waybill_worker.agents.python"


async def snippet(code: str, **more: Any) -> dict[str, Any]:
    output: dict[str, Any] = (await run_agent(python, {"code": code, **more})).output
    return output


async def test_given_a_snippet_when_run_then_its_output_and_its_prints_are_returned() -> None:
    found = await snippet("print('working')\ndef main(rows):\n  return sum(rows) / len(rows)", input=[1, 2, 6])

    assert found == {"output": 3.0, "stdout": "working\n", "stderr": ""}


@pytest.mark.parametrize(
    ("code", "more", "reason", "words"),
    [
        ("x = 1\nx / 0", {}, "SNIPPET_RAISED", 'ZeroDivisionError: division by zero at "<snippet>", line 2'),
        ("import os; os._exit(7)", {}, "SNIPPET_EXITED", "exit code 7"),
        ("while True: pass", {"cpu_seconds": 1}, "SNIPPET_CPU_LIMIT", "cpu_seconds"),
        ("x = bytearray(80 * 2**20)", {"memory_mib": 64}, "SNIPPET_RAISED", "MemoryError"),
        ("while True: print('x' * 1000)", {}, "SNIPPET_OUTPUT_LIMIT", "stdout of the snippet has more than 1048576"),
        ("for n in range(5): open(str(n), 'wb').write(b'x' * 4_000_000)\nimport time; time.sleep(60)", {},
         "SNIPPET_DISK_LIMIT", "16777216 bytes"),
        ("pass", {"cpu_seconds": 61}, "INPUT_INVALID", "at most 60"),
        ("pass", {"memory_mib": 513}, "INPUT_INVALID", "at most 512"),
        ("pass", {"timeout_seconds": 601}, "INPUT_INVALID", "timeout_seconds"),
        ("", {}, "INPUT_INVALID", "code"),
    ],
)  # fmt: skip
async def test_given_a_snippet_that_no_repetition_mends_when_run_then_it_fails_for_good_and_says_why(
    code: str, more: dict[str, Any], reason: str, words: str
) -> None:
    with pytest.raises(Permanent) as caught:
        await snippet(code, **more)

    assert caught.value.reason == reason
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("code", "reason"),
    [("import time; time.sleep(60)", "SNIPPET_TIMEOUT"), ("import os; os.kill(os.getpid(), 9)", "SNIPPET_KILLED")],
)
async def test_given_a_snippet_that_may_go_better_when_run_then_the_attempt_alone_fails(code: str, reason: str) -> None:
    with pytest.raises(AgentError) as caught:
        await snippet(code, timeout_seconds=1)

    assert (caught.value.reason, isinstance(caught.value, Permanent)) == (reason, False)


@pytest.mark.parametrize("lost", ["landlock._CREATE_RULESET = 9999", "seccomp._MODE_FILTER = 77"])
async def test_given_a_kernel_that_cannot_keep_it_inside_when_a_snippet_is_run_then_nothing_of_it_runs(
    lost: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process of the snippet asks the kernel for what there is not."""
    boot = (
        f"from waybill_worker.sandbox import landlock, seccomp; {lost}; from waybill_worker.sandbox.inside import main"
    )
    monkeypatch.setattr(launch, "_BOOT", launch._BOOT.replace("from waybill_worker.sandbox.inside import main", boot))

    with pytest.raises(Permanent) as caught:
        await snippet(f"open({str(tmp_path / 'ran')!r}, 'w')")

    assert caught.value.reason == "SANDBOX_MISSING"
    assert os.listdir(tmp_path) == []


def test_given_an_operator_who_turns_it_off_when_agents_are_loaded_then_it_is_not_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert agent_modules(["a", MODULE], entry_points=False) == ("a", MODULE)
    monkeypatch.setenv("WAYBILL_WORKER_PYTHON_AGENT", "off")
    assert agent_modules(["a", MODULE], entry_points=False) == ("a",)
    monkeypatch.setenv("WAYBILL_WORKER_PYTHON_AGENT", "maybe")
    with pytest.raises(ValueError, match="python_agent"):
        agent_modules([MODULE], entry_points=False)


async def test_given_what_a_killed_worker_left_behind_when_a_snippet_is_run_then_it_is_swept_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    os.close(Folder.make()._lock)
    python_module._sweep.cache_clear()

    await snippet("pass")

    assert os.listdir(tmp_path) == []
