"""Fixtures of the tests that send what no client would. WAYBILL_FUZZ_EXAMPLES raises how much of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

for folder in ("fuzz", "ledger"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))

from fuzz_suite import Suite, running_suite  # noqa: E402

EXAMPLES = int(os.environ.get("WAYBILL_FUZZ_EXAMPLES", "8"))
settings.register_profile(
    "fuzz", max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.fixture(autouse=True)
def examples() -> Iterator[None]:
    """As many examples as were asked for."""
    before = settings.get_current_profile_name()
    settings.load_profile("fuzz")
    yield
    settings.load_profile(before)


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """A suite without a worker: what it accepts stays as it was accepted."""
    with running_suite(tmp_path_factory.mktemp("quiet"), "planner", "dispatcher", "gateway") as suite:
        yield suite


@pytest.fixture(scope="session")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """A suite with a worker."""
    with running_suite(tmp_path_factory.mktemp("working"), "planner", "dispatcher", "worker", "gateway") as suite:
        yield suite
