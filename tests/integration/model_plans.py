"""What the server of models answers in tests of the whole suite: plans, patches, and whatever else agents ask for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from model_server import Behaviour, ModelServer, Request, obliging

Step = dict[str, Any]
MODEL = "gpt-4o-mini"
"""A model whose price is in the list of known ones."""
KEY = "the-key-of-the-tests"
PLAN: list[Step] = [
    {"name": "look", "agent": "retriever", "input": {"question": "What are tides?"}},
    {
        "name": "judge",
        "agent": "analyst",
        "input": {"question": "What are tides?", "passages": "${look.passages}", "warnings": "${look.warnings}"},
    },
    {"name": "report", "agent": "writer", "input": {"goal": "${task.goal}", "sections": ["${judge}"]}},
]


def kind_of(request: Request) -> str:
    """Who asks: for a "plan" or a "patch", or an agent for something else ("")."""
    properties = (request.schema or {}).get("properties", {})
    return "" if "steps" not in properties else "patch" if "drop" in properties else "plan"


def rule(
    plan: Behaviour | Sequence[Step] = PLAN, patch: Behaviour | dict[str, Any] | None = None
) -> Callable[[Request], Behaviour]:
    """Answers with this plan and patch, and fills in any other form."""

    def answer(request: Request) -> Behaviour:
        match kind_of(request):
            case "plan":
                return plan if isinstance(plan, Behaviour) else Behaviour(text=json.dumps({"steps": list(plan)}))
            case "patch":
                return patch if isinstance(patch, Behaviour) else Behaviour(text=json.dumps(patch))
        return obliging(request)

    return answer


def environment_of(server: ModelServer | str) -> dict[str, str]:
    """The variables that make a suite use a server."""
    url = server if isinstance(server, str) else server.url
    return {"WAYBILL_LLM_BASE_URL": url, "WAYBILL_LLM_MODEL": MODEL, "WAYBILL_LLM_API_KEY": KEY}


async def calls_of(http: httpx.AsyncClient, task: str) -> list[dict[str, Any]]:
    """All model calls of a task, as the API lists them."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = (await http.get(f"/v1/{task}/modelCalls", params={"page_token": token} if token else {})).json()
        found += page["calls"]
        token = page.get("next_page_token", "")
        if not token:
            return found
