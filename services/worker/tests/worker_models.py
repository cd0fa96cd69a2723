"""Models for the worker's tests, and how what the ledger counts is held against the bill of their server."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from model_server import Billed, ModelServer

from waybill.core.task import CallState, Usage
from waybill.ledger.call_records import CallRecord
from waybill.ledger.ledger import Ledger
from waybill.models.config import Endpoint, Model, Models

ASKED_MICROUSD = 2
TOLD_MICROUSD = 8


def models_of(server: ModelServer, endpoint: dict[str, Any] | None = None, **options: Any) -> Models:
    """One model on one endpoint, both named default; its tokens cost as above."""
    usual = {
        "endpoint": "default",
        "model": "test-model",
        "max_output_tokens": 100,
        "input_usd_per_million": Decimal(ASKED_MICROUSD),
        "output_usd_per_million": Decimal(TOLD_MICROUSD),
        "timeout_seconds": 5,
        "first_token_timeout_seconds": 5,
    }
    keep_prompts = options.pop("keep_prompts", False)
    model = Model(**{**usual, **options})
    where = Endpoint(base_url=server.url, **(endpoint or {}))
    return Models({"default": where}, {"default": model}, default="default", keep_prompts=keep_prompts)


def usage_of(billed: Billed) -> Usage:
    """What a billed call used."""
    return Usage(
        billed.prompt_tokens,
        billed.completion_tokens,
        ASKED_MICROUSD * billed.prompt_tokens + TOLD_MICROUSD * billed.completion_tokens,
        billed.cached_tokens,
        billed.reasoning_tokens,
    )


def total(usages: Sequence[Usage]) -> Usage:
    """All of them together."""
    return sum(usages, Usage())


def name_of(task_id: str, call: CallRecord) -> str:
    """The name under which a call is billed."""
    return f"{task_id}/{call.step_number}/{call.attempt}/{call.number}"


async def assert_accounted(ledger: Ledger, server: ModelServer, task_id: str) -> list[CallRecord]:
    """The calls of a task that has ended: each is settled as it was billed, or estimated at no less, and the task's
    usage is the sum of them.
    """
    await server.idle()
    calls = await ledger.calls(task_id)
    bill = {billed.call: usage_of(billed) for billed in server.bill if billed.call.startswith(f"{task_id}/")}
    assert bill.keys() <= {name_of(task_id, call) for call in calls}
    for call in calls:
        billed = bill.get(name_of(task_id, call), Usage())
        assert call.state is not CallState.OPEN
        if call.state is CallState.SETTLED:
            assert call.usage == billed, call
        else:
            assert call.usage.estimated_microusd == call.usage.cost_microusd >= billed.cost_microusd, call
    task = await ledger.task(task_id)
    assert task.usage == total([call.usage for call in calls])
    assert task.reserved_microusd == 0
    return calls
