"""Runs a peer's script once and reads what it measured.

A script is `peers/<peer>_peer.py --bench NAME --store URL --count N`, run by the Python of its own environment. It
starts what it needs, waits until that is ready, measures one run, stops everything, and prints as the last line of
stdout one JSON object `{"value": ..., "unit": ..., "detail": {...}, "versions": {...}}`. Exit code 3 says that the
peer has no such thing, with the reason on stderr. Whatever a script leaves running is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, TextIO

import msgspec
import psutil
from measurement import Measured
from peer_environments import Peer
from peer_store import launched_by_me

RUN_SECONDS = 300.0
GRACE_SECONDS = 5.0
HAS_NO_SUCH_THING = 3
_PR_SET_CHILD_SUBREAPER = 36
_TOLD_CHARACTERS = 2_000

COUNTS = {"throughput": 20_000, "chain_latency": 100, "chain_throughput": 200, "fan": 1_000, "diamond": 2_000}
"""Tasks, chains, width, diamonds. A benchmark that is not here has no peers."""
SMALLER_COUNTS = {
    "celery": {"throughput": 5_000, "diamond": 500},
    "dbos": {"throughput": 4_000, "diamond": 500},
    "arq": {"throughput": 4_000},
    "prefect": {"chain_latency": 3},
}
"""For peers that would take minutes: a rate of a smaller count is as good."""


class _Told(msgspec.Struct, frozen=True):
    """The last line of a script."""

    value: float
    unit: str
    detail: dict[str, Any] = {}
    versions: dict[str, str] = {}


class Inapplicable(Exception):
    """The peer has nothing that does this benchmark's work; the text says why."""


class PeerFailed(Exception):
    """The script did not come to a result; the text says why."""


def measure_peer(peer: Peer, bench: str, store_url: str, runs: int, count: int | None = None) -> Measured:
    """Run a peer's script so many times. Raises `Inapplicable` and `PeerFailed`."""
    if count is None:
        count = SMALLER_COUNTS.get(peer.name, {}).get(bench, COUNTS[bench])
    told = [_run(peer, bench, store_url, count) for _ in range(runs)]
    middle = sorted(told, key=lambda one: one.value)[len(told) // 2]
    detail = {"count": count, **middle.detail}
    return Measured(peer.name, middle.unit, [one.value for one in told], detail, middle.versions)


def _run(peer: Peer, bench: str, store_url: str, count: int) -> _Told:
    command = [*launched_by_me(), str(peer.python), str(peer.script)]
    command += ["--bench", bench, "--store", store_url, "--count", str(count)]
    # Files and no pipes: a process that a script leaves behind would keep a pipe open.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        code = _run_to_end(command, _environment(peer), output, errors)
        output.seek(0)
        errors.seek(0)
        lines, complaint = output.read().strip().splitlines(), errors.read().strip()[-_TOLD_CHARACTERS:]
    if code == HAS_NO_SUCH_THING:
        raise Inapplicable(complaint)
    if code:
        raise PeerFailed(f"ended with {code}: {complaint}")
    try:
        return msgspec.json.decode((lines or [""])[-1], type=_Told)
    except msgspec.MsgspecError as error:
        raise PeerFailed(f"its last line is no result ({error}): {complaint}") from None


def _run_to_end(command: Sequence[str], environment: dict[str, str], output: TextIO, errors: TextIO) -> int:
    """The exit code; whatever the command started has gone by then, also when this is interrupted."""
    _adopt_orphans(True)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
    )
    try:
        return process.wait(RUN_SECONDS)
    except subprocess.TimeoutExpired:
        raise PeerFailed(f"took over {RUN_SECONDS:g} seconds") from None
    finally:
        _end_all_but(before)
        _adopt_orphans(False)


def _environment(peer: Peer) -> dict[str, str]:
    """Ours without what belongs to Waybill, and the programs of the peer's own environment first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WAYBILL_", "PYTHON", "VIRTUAL"))}
    programs = [peer.environment / "bin", peer.environment / "node_modules" / ".bin"]
    return {**kept, "PATH": os.pathsep.join([*map(str, programs), kept.get("PATH", "")])}


def _adopt_orphans(wanted: bool) -> None:
    """Make this process the parent of whatever loses its own below it, so that daemons are found again."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def _end_all_but(before: set[int]) -> None:
    """Ask every other descendant to end, and kill what has not after its grace; what falls apart may leave more."""
    for send in (psutil.Process.terminate, psutil.Process.kill, psutil.Process.kill):
        left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                send(child)
        psutil.wait_procs(left, timeout=GRACE_SECONDS)
