"""A planner with a model, for tests: a server of `tests/model_server.py`, which answers what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from model_answers import Behaviour
from model_server import ModelServer
from waybill_planner.author import Author

from waybill.api.v1 import planner_pb2, task_pb2
from waybill.models.client import ModelClient
from waybill.models.config import Endpoint, Model, Models

ANY = '{"type": "object"}'
AGENTS = ("retriever", "analyst", "writer", "llm", "http", "tools", "python", "exfiltrator")


def agents(*names: str) -> list[task_pb2.Agent]:
    return [task_pb2.Agent(name=f"agents/{name}", input_schema=ANY) for name in names or AGENTS]


def plan_text(*steps: dict[str, Any]) -> str:
    return msgspec.json.encode({"steps": steps}).decode()


def answers(*texts: str) -> list[Behaviour]:
    return [Behaviour(text=text) for text in texts]


@asynccontextmanager
async def author_of(server: ModelServer, *, priced: bool = True) -> AsyncIterator[Author]:
    """An author whose model is `server`; a million tokens cost a dollar."""
    prices: dict[str, Any] = {"input_usd_per_million": 1, "output_usd_per_million": 1} if priced else {}
    models = Models(
        {"default": Endpoint(base_url=server.url)},
        {"default": Model(endpoint="default", model="no-such-model", **prices)},
        default="default",
    )
    client = ModelClient(models)
    try:
        yield Author(client)
    finally:
        await client.close()


def plan_request(goal: str = "Why?", **fields: Any) -> planner_pb2.StreamPlanRequest:
    given: dict[str, Any] = {"agents": agents(), "max_cost_microusd": 1_000_000, **fields}
    return planner_pb2.StreamPlanRequest(goal=goal, **given)
