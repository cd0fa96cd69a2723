"""Fixtures of the tests of agents: a bench for the agent `tools`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp_test_servers import http_server

sys.path.insert(0, str(Path(__file__).parent))

from tools_bench import Bench


@pytest.fixture(scope="module")
def tool_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of a server that the tests of this module share, and the file of its effects."""
    effects = tmp_path_factory.mktemp("server") / "effects"
    with http_server(effects, "--token", "Bearer s3cret-token") as url:
        yield url, effects


@pytest.fixture
def bench(tool_server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    url, effects = tool_server
    effects.unlink(missing_ok=True)
    entry = {"url": url, "headers": {"Authorization": "Bearer s3cret-token"}, "timeout_seconds": 20}
    made = Bench(tmp_path / "mcp.json", entry, effects)
    made.configure()
    monkeypatch.setenv("WAYBILL_WORKER_MCP_CONFIG_FILE", str(made.config))
    return made
