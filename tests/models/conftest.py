"""Fixtures of the tests of models: a server, and clients of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from model_server import ModelServer

from waybill.models import course
from waybill.models.client import ModelClient
from waybill.models.config import Endpoint, Model, Models

MakeClient = Callable[..., ModelClient]


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """A server that does as it is told."""
    async with ModelServer() as started:
        yield started


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are made again at once."""
    monkeypatch.setattr(course, "FIRST_REST_SECONDS", 0.001)


@pytest.fixture
async def client_of() -> AsyncIterator[MakeClient]:
    """Makes clients: each named server is an endpoint with a model of its name, the first one the default."""
    async with contextlib.AsyncExitStack() as stack:

        def make(
            keep_prompts: bool = False, options: dict[str, Any] | None = None, **servers: ModelServer
        ) -> ModelClient:
            endpoints = {name: Endpoint(base_url=server.url) for name, server in servers.items()}
            models = {name: _model(name, (options or {}).get(name, {})) for name in servers}
            default = next(iter(servers))
            client = ModelClient(Models(endpoints, models, default=default, keep_prompts=keep_prompts))
            stack.push_async_callback(client.close)
            return client

        yield make


def _model(name: str, options: dict[str, Any]) -> Model:
    prices = {"input_usd_per_million": Decimal(2), "output_usd_per_million": Decimal(8)}
    waits = {"timeout_seconds": 5, "first_token_timeout_seconds": 5}
    return Model(
        **{"endpoint": name, "model": f"model-{name}", "max_output_tokens": 1000, **prices, **waits, **options}
    )
