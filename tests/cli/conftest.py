"""What the tests of the command line share: questions to the system about processes, and no process left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psutil
import pytest

PATIENCE_SECONDS = 30.0


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds."""

    def wait(condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < give_up, "it never came to hold"
            time.sleep(0.02)

    return wait


@pytest.fixture
def running() -> Callable[[int], bool]:
    """Tells whether a process runs; a zombie does not."""

    def ask(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return ask


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    """Fails a test that leaves a child behind, be it as a zombie."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    assert [child for child in psutil.Process().children(recursive=True) if child.pid not in before] == []
