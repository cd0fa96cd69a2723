"""One suite for the tests of all examples, with the agents of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent
WITH_AGENTS = ("pipeline", "embeddings", "approval")


@dataclass(frozen=True)
class ExampleSuite:
    """Where the suite is reached, and the folder that its workers work in."""

    address: str
    folder: Path


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleSuite]:
    """A real suite, until the last example is tested."""
    folder = tmp_path_factory.mktemp("examples")
    path = [*(str(EXAMPLES / name) for name in WITH_AGENTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "waybill.cli.main", "up", "--json", "--agents", ",".join(WITH_AGENTS)]
    with subprocess.Popen(
        [*command, "--grpc-port", "0", "--http-port", "0"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield ExampleSuite(json.loads(process.stdout.readline())["grpc"], folder)
        process.terminate()
        assert process.wait(60) == 0
