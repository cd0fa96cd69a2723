"""The HTTP routes of usage, model calls, budgets and limits."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.rpc.events import usage_to_json
from waybill.rpc.spending import call_to_json, limit_to_json, tenant_budget_to_json, usage_row_to_json
from waybill_gateway.caller import Caller
from waybill_gateway.http_bodies import BudgetSetting, LimitSetting
from waybill_gateway.http_errors import json_response
from waybill_gateway.http_requests import action_of, caller_of, check_parameters, page_size_of, step_of, task_of
from waybill_gateway.settings import GatewaySettings
from waybill_gateway.verbs import Verbs


def spending_routes(verbs: Verbs, settings: GatewaySettings) -> list[BaseRoute]:
    """The routes over the verbs."""
    handlers = _Handlers(verbs, settings)
    return [
        Route("/v1/usage", handlers.get_usage, methods=["GET"]),
        Route("/v1/tasks/{task}/modelCalls", handlers.list_calls_of_task, methods=["GET"]),
        Route("/v1/tasks/{task}/steps/{step}/modelCalls", handlers.list_calls_of_step, methods=["GET"]),
        Route("/v1/tenant/budget", handlers.get_tenant_budget, methods=["GET"]),
        Route("/v1/tenant/budget:set", handlers.set_tenant_budget, methods=["POST"]),
        Route("/v1/limits", handlers.list_limits, methods=["GET"]),
        Route("/v1/limits/{limit}:set", handlers.set_limit, methods=["POST"]),
    ]


class _Handlers:
    """One method a route: reads the request, calls the verb, writes the response."""

    def __init__(self, verbs: Verbs, settings: GatewaySettings) -> None:
        self._verbs = verbs
        self._settings = settings

    async def get_usage(self, request: Request) -> Response:
        """`GET /v1/usage`: `total` and `rows`, of the task that `task` names, or of the caller's tenant by day."""
        check_parameters(request, ("task", "from_day", "until_day"))
        task = request.query_params.get("task", "")
        reading = gateway_pb2.GetUsageRequest(
            task=f"tasks/{task.removeprefix('tasks/')}" if task else "",
            from_day=request.query_params.get("from_day", ""),
            until_day=request.query_params.get("until_day", ""),
        )
        response = await self._verbs.spending.get_usage(self._caller(request), reading)
        rows = [usage_row_to_json(row) for row in response.rows]
        return json_response({"total": usage_to_json(response.total), "rows": rows})

    async def list_calls_of_task(self, request: Request) -> Response:
        """`GET /v1/tasks/{task}/modelCalls`: `calls` and `next_page_token`."""
        return await self._list_calls(request, task_of(request))

    async def list_calls_of_step(self, request: Request) -> Response:
        """`GET /v1/tasks/{task}/steps/{step}/modelCalls`: as of a task, with prompts and responses where kept."""
        return await self._list_calls(request, step_of(request))

    async def _list_calls(self, request: Request, parent: str) -> Response:
        check_parameters(request, ("page_size", "page_token"))
        listing = gateway_pb2.ListModelCallsRequest(
            parent=parent, page_size=page_size_of(request), page_token=request.query_params.get("page_token", "")
        )
        response = await self._verbs.spending.list_model_calls(self._caller(request), listing)
        calls = [call_to_json(call, msgspec.Raw) for call in response.calls]
        return json_response({"calls": calls, "next_page_token": response.next_page_token})

    async def get_tenant_budget(self, request: Request) -> Response:
        """`GET /v1/tenant/budget`: what the caller's tenant may spend, and has."""
        check_parameters(request)
        reading = gateway_pb2.GetTenantBudgetRequest()
        response = await self._verbs.spending.get_tenant_budget(self._caller(request), reading)
        return json_response(tenant_budget_to_json(response.budget))

    async def set_tenant_budget(self, request: Request) -> Response:
        """`POST /v1/tenant/budget:set`: the budget after the call."""
        check_parameters(request)
        caller = self._caller(request)
        form = await action_of(request, BudgetSetting, self._settings.max_body_bytes)
        budget = task_pb2.TenantBudget(
            max_total_microusd=form.max_total_microusd, max_day_microusd=form.max_day_microusd
        )
        setting = gateway_pb2.SetTenantBudgetRequest(budget=budget, request_id=form.request_id)
        response = await self._verbs.spending.set_tenant_budget(caller, setting)
        return json_response(tenant_budget_to_json(response.budget))

    async def list_limits(self, request: Request) -> Response:
        """`GET /v1/limits`: `limits`."""
        check_parameters(request)
        response = await self._verbs.spending.list_limits(self._caller(request), gateway_pb2.ListLimitsRequest())
        return json_response({"limits": [limit_to_json(limit) for limit in response.limits]})

    async def set_limit(self, request: Request) -> Response:
        """`POST /v1/limits/{limit}:set`: the limit after the call."""
        check_parameters(request)
        caller = self._caller(request)
        form = await action_of(request, LimitSetting, self._settings.max_body_bytes)
        limit = task_pb2.Limit(
            name=f"limits/{request.path_params['limit']}",
            max_concurrency=form.max_concurrency,
            requests_per_minute=form.requests_per_minute,
            tokens_per_minute=form.tokens_per_minute,
        )
        setting = gateway_pb2.SetLimitRequest(limit=limit, request_id=form.request_id)
        response = await self._verbs.spending.set_limit(caller, setting)
        return json_response(limit_to_json(response.limit))

    def _caller(self, request: Request) -> Caller:
        return caller_of(request, self._settings.call_timeout_seconds)
