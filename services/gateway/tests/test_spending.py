"""Usage, model calls, budgets and limits, over gRPC and HTTP: what is refused at the edge, and what is handed on."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.core.limits import MAX_BUDGET_MICROUSD, MAX_LIMIT


async def refused_fields(call: Any) -> list[str]:
    """The fields that a call is refused for."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = error_details_pb2.BadRequest()
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert any(detail.Unpack(found) for detail in status.details)
    return [violation.field for violation in found.field_violations]


async def test_usage_is_that_of_the_task_named_or_of_the_tenant_by_day(http, dispatcher):
    of_task = (await http.get("/v1/usage", params={"task": "t1"})).json()
    assert (of_task["total"]["cost_microusd"], of_task["rows"][0]["step"]) == (70, "a")
    by_day = (await http.get("/v1/usage", params={"from_day": "2026-11-01", "until_day": "2026-11-24"})).json()
    assert (by_day["rows"][0]["day"], by_day["rows"][0]["calls"]) == ("2026-11-01", 2)
    first, second = dispatcher.requests_seen
    assert (first.task, second.from_day, second.until_day) == ("tasks/t1", "2026-11-01", "2026-11-24")


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"from_day": "yesterday"}, "from_day"),
        ({"until_day": "2026-1-1"}, "until_day"),
        ({"task": "t1", "from_day": "2026-11-01"}, "from_day"),
        ({"day": "2026-11-01"}, "day"),
    ],
)
async def test_what_makes_no_sense_of_usage_is_refused_by_its_field(http, parameters, field):
    response = await http.get("/v1/usage", params=parameters)
    assert response.status_code == 400
    assert [violation["field"] for violation in response.json()["violations"]] == [field]


async def test_model_calls_are_listed_of_a_task_or_of_a_step_with_texts(http, dispatcher):
    of_task = (await http.get("/v1/tasks/t1/modelCalls", params={"page_size": 5, "page_token": "x"})).json()
    assert (of_task["calls"][0]["state"], of_task["next_page_token"]) == ("settled", "more")
    assert "prompt" not in of_task["calls"][0]
    of_step = (await http.get("/v1/tasks/t1/steps/a/modelCalls")).json()
    assert of_step["calls"][0]["prompt"] == {"messages": []}
    first, second = dispatcher.requests_seen
    assert (first.parent, first.page_size, first.page_token) == ("tasks/t1", 5, "x")
    assert second.parent == "tasks/t1/steps/a"


async def test_the_tenants_budget_is_read_and_set(http, dispatcher):
    assert (await http.get("/v1/tenant/budget")).json()["max_day_microusd"] == 5
    set_to = {"max_total_microusd": 900, "max_day_microusd": 0, "request_id": "mine"}
    assert (await http.post("/v1/tenant/budget:set", json=set_to)).json()["max_total_microusd"] == 900
    (writing,) = dispatcher.requests_seen
    assert (writing.budget.max_total_microusd, writing.request_id) == (900, "mine")
    refused = await http.post("/v1/tenant/budget:set", json={"max_day_microusd": -1})
    assert refused.json()["violations"][0]["field"] == "max_day_microusd"


async def test_limits_are_listed_and_set(http, dispatcher):
    assert (await http.get("/v1/limits")).json()["limits"][0]["name"] == "limits/agent:echo"
    response = await http.post("/v1/limits/model:default:set", json={"tokens_per_minute": 90_000})
    assert (response.json()["name"], response.json()["tokens_per_minute"]) == ("limits/model:default", 90_000)
    (writing,) = dispatcher.requests_seen
    assert writing.request_id
    assert (await http.post("/v1/limits/nothing:set", json={})).status_code == 400


async def test_numbers_out_of_range_are_all_refused_by_their_fields(stub, dispatcher):
    setting = gateway_pb2.SetTenantBudgetRequest(
        budget=task_pb2.TenantBudget(max_total_microusd=-1, max_day_microusd=MAX_BUDGET_MICROUSD + 1)
    )
    assert await refused_fields(stub.SetTenantBudget(setting)) == [
        "budget.max_total_microusd",
        "budget.max_day_microusd",
    ]
    assert await refused_fields(stub.SetTenantBudget(gateway_pb2.SetTenantBudgetRequest())) == ["budget"]
    wrong = task_pb2.Limit(name="limits/agent:echo", max_concurrency=MAX_LIMIT + 1, requests_per_minute=-1)
    assert await refused_fields(stub.SetLimit(gateway_pb2.SetLimitRequest(limit=wrong))) == [
        "limit.max_concurrency",
        "limit.requests_per_minute",
    ]
    tokens = task_pb2.Limit(name="limits/key:crm", tokens_per_minute=1)
    assert await refused_fields(stub.SetLimit(gateway_pb2.SetLimitRequest(limit=tokens))) == ["limit.tokens_per_minute"]
    for name in ("", "agent:echo", "limits/robot:x", "limits/agent:", "limits/agent:a b"):
        setting = gateway_pb2.SetLimitRequest(limit=task_pb2.Limit(name=name))
        assert await refused_fields(stub.SetLimit(setting)) == ["limit.name"]
    assert dispatcher.requests_seen == []
