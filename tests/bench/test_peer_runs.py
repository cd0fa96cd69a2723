"""A peer's script tells one result in its last line, or why there is none; nothing of it is left running."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import peer_runs
import psutil
import pytest
from peer_environments import Peer
from peer_runs import Inapplicable, PeerFailed, measure_peer

TELLS = """
import json, sys
asked = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("starting")
print(json.dumps({"value": float(asked["--count"]), "unit": "tasks/s", "detail": asked, "versions": {"fake": "1"}}))
"""
LEAVES_A_DAEMON = """
import json, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(json.dumps({"value": 1, "unit": "s", "detail": {"pid": child.pid}}))
"""
LEAVES_ONE_AND_FAILS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
sys.exit(f"pid {child.pid}")
"""


SLEEPS = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(__file__).with_name("pid").write_text(str(child.pid))
time.sleep(600)
"""
MEASURES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from peer_environments import Peer
from peer_runs import measure_peer
measure_peer(Peer("fake", Path(sys.argv[2]), Path(sys.argv[2]) / "environments"), "fan", "", runs=1)
"""


@pytest.fixture
def peer(tmp_path: Path) -> Callable[[str], Peer]:
    """A peer whose script is this code, and whose environment is there."""

    def make(code: str) -> Peer:
        made = Peer("fake", tmp_path, tmp_path / "environments")
        made.script.write_text(code)
        made.python.parent.mkdir(parents=True)
        made.python.symlink_to(sys.executable)
        return made

    return make


def test_each_run_is_a_run_of_the_script_with_what_it_is_to_do(peer: Callable[[str], Peer]) -> None:
    measured = measure_peer(peer(TELLS), "fan", "redis://127.0.0.1:1/0", runs=2, count=7)
    assert (measured.system, measured.unit, measured.runs) == ("fake", "tasks/s", [7.0, 7.0])
    assert measured.versions == {"fake": "1"}
    told = {"--bench": "fan", "--store": "redis://127.0.0.1:1/0", "--count": "7"}
    assert measured.detail == {"count": 7, **told}


def test_without_a_count_a_peer_gets_that_of_the_benchmark(peer: Callable[[str], Peer]) -> None:
    assert measure_peer(peer(TELLS), "fan", "redis://127.0.0.1:1/0", runs=1).runs == [1_000.0]


def test_a_peer_that_has_no_such_thing_says_why(peer: Callable[[str], Peer]) -> None:
    with pytest.raises(Inapplicable, match="no chains"):
        measure_peer(peer("import sys; print('no chains', file=sys.stderr); sys.exit(3)"), "fan", "", runs=3)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise SystemExit('it broke')", "ended with 1: it broke"),
        ("print('done')", "no result"),
        ("", "no result"),
        ('print(\'{"value": "fast", "unit": "s"}\')', "no result"),
    ],
)
def test_a_peer_that_comes_to_no_result_is_named_with_the_reason(
    code: str, told: str, peer: Callable[[str], Peer]
) -> None:
    with pytest.raises(PeerFailed, match=told):
        measure_peer(peer(code), "fan", "", runs=1)


def test_what_a_script_leaves_running_is_ended(peer: Callable[[str], Peer]) -> None:
    measured = measure_peer(peer(LEAVES_A_DAEMON), "fan", "", runs=1)
    assert not psutil.pid_exists(measured.detail["pid"])


def test_what_a_failing_script_leaves_running_is_ended_too(peer: Callable[[str], Peer]) -> None:
    with pytest.raises(PeerFailed) as failed:
        measure_peer(peer(LEAVES_ONE_AND_FAILS), "fan", "", runs=1)
    assert not psutil.pid_exists(int(str(failed.value).rpartition("pid ")[2]))


def test_whoever_interrupts_a_peers_run_finds_nothing_of_it_running(peer: Callable[[str], Peer]) -> None:
    sleeping = peer(SLEEPS)
    command = [sys.executable, "-c", MEASURES, str(Path(peer_runs.__file__).parent), str(sleeping.folder)]
    note = sleeping.folder / "pid"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as measuring:
        while not (note.exists() and note.read_text()):
            assert measuring.poll() is None
            time.sleep(0.05)
        measuring.send_signal(signal.SIGINT)
        assert measuring.wait(60) != 0
    assert not psutil.pid_exists(int(note.read_text()))
