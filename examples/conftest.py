"""One suite for the tests of all examples, with the agents of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from waybill.testing.suite import PrivateSuite, private_suite

AGENTS = ("pipeline", "embeddings", "approval")


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSuite]:
    """A real suite, until the last example is tested."""
    folder = tmp_path_factory.mktemp("examples")
    with private_suite(folder, AGENTS, environment={"APPROVAL_OUTBOX": str(folder / "outbox.jsonl")}) as suite:
        yield suite
