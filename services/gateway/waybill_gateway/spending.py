"""The verbs of usage, model calls, budgets and limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.core import limits
from waybill.errors import InvalidArgument, Violation
from waybill_gateway import fields
from waybill_gateway.asking import ask
from waybill_gateway.caller import Caller

if TYPE_CHECKING:
    from waybill.api.v1.dispatcher_pb2_grpc import DispatcherServiceAsyncStub

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BUDGET_NUMBERS = {
    "max_total_microusd": limits.MAX_BUDGET_MICROUSD,
    "max_day_microusd": limits.MAX_BUDGET_MICROUSD,
}
_LIMIT_NUMBERS = {
    "max_concurrency": limits.MAX_LIMIT,
    "requests_per_minute": limits.MAX_LIMIT,
    "tokens_per_minute": limits.MAX_TOKENS_PER_MINUTE,
}


class Spending:
    """One method a verb. Each takes a caller and a request of the public API, and raises `WaybillError` alone."""

    def __init__(self, dispatcher: DispatcherServiceAsyncStub) -> None:
        self._dispatcher = dispatcher

    async def get_usage(self, caller: Caller, request: gateway_pb2.GetUsageRequest) -> gateway_pb2.GetUsageResponse:
        """Read what a task or the caller's tenant used."""
        days = {"from_day": request.from_day, "until_day": request.until_day}
        for field, day in days.items():
            if day and request.task:
                raise InvalidArgument.of_field(field, "is for the usage of a tenant; leave it out for a task's")
            if day and not _DAY.fullmatch(day):
                raise InvalidArgument.of_field(field, 'must be a day such as "2026-11-24"')
        name = fields.task_name("task", request.task) if request.task else ""
        reading = dispatcher_pb2.ReadUsageRequest(task=name, **days)
        response = await ask(self._dispatcher.ReadUsage, reading, caller)
        return gateway_pb2.GetUsageResponse(total=response.total, rows=response.rows)

    async def list_model_calls(
        self, caller: Caller, request: gateway_pb2.ListModelCallsRequest
    ) -> gateway_pb2.ListModelCallsResponse:
        """List the model calls of a task or a step."""
        is_step = "/steps/" in request.parent
        reading = dispatcher_pb2.ReadModelCallsRequest(
            parent=(fields.step_name if is_step else fields.task_name)("parent", request.parent),
            page_size=fields.page_size(request.page_size),
            page_token=request.page_token,
        )
        response = await ask(self._dispatcher.ReadModelCalls, reading, caller)
        return gateway_pb2.ListModelCallsResponse(calls=response.calls, next_page_token=response.next_page_token)

    async def get_tenant_budget(
        self, caller: Caller, _request: gateway_pb2.GetTenantBudgetRequest
    ) -> gateway_pb2.GetTenantBudgetResponse:
        """Read what the caller's tenant may spend, and has."""
        response = await ask(self._dispatcher.ReadTenantBudget, dispatcher_pb2.ReadTenantBudgetRequest(), caller)
        return gateway_pb2.GetTenantBudgetResponse(budget=response.budget)

    async def set_tenant_budget(
        self, caller: Caller, request: gateway_pb2.SetTenantBudgetRequest
    ) -> gateway_pb2.SetTenantBudgetResponse:
        """Set what the caller's tenant may spend."""
        if not request.HasField("budget"):
            raise InvalidArgument.of_field("budget", "is required; send max_total_microusd and max_day_microusd")
        _check_numbers("budget", request.budget, _BUDGET_NUMBERS)
        writing = dispatcher_pb2.WriteTenantBudgetRequest(
            budget=request.budget, request_id=fields.request_id(request.request_id)
        )
        response = await ask(self._dispatcher.WriteTenantBudget, writing, caller)
        return gateway_pb2.SetTenantBudgetResponse(budget=response.budget)

    async def list_limits(
        self, caller: Caller, _request: gateway_pb2.ListLimitsRequest
    ) -> gateway_pb2.ListLimitsResponse:
        """List the limits that were set or learned."""
        response = await ask(self._dispatcher.ReadLimits, dispatcher_pb2.ReadLimitsRequest(), caller)
        return gateway_pb2.ListLimitsResponse(limits=response.limits)

    async def set_limit(self, caller: Caller, request: gateway_pb2.SetLimitRequest) -> gateway_pb2.SetLimitResponse:
        """Set or remove a limit."""
        name = fields.limit_name("limit.name", request.limit.name)
        _check_numbers("limit", request.limit, _LIMIT_NUMBERS)
        if request.limit.tokens_per_minute and not name.startswith("limits/model:"):
            raise InvalidArgument.of_field("limit.tokens_per_minute", "is for limits of models alone; leave it out")
        writing = dispatcher_pb2.WriteLimitRequest(
            limit=request.limit, request_id=fields.request_id(request.request_id)
        )
        response = await ask(self._dispatcher.WriteLimit, writing, caller)
        return gateway_pb2.SetLimitResponse(limit=response.limit)


def _check_numbers(field: str, message: task_pb2.TenantBudget | task_pb2.Limit, known: dict[str, int]) -> None:
    """Raise `InvalidArgument` with every number that is out of its range."""
    found = [
        Violation(f"{field}.{name}", f"is {number}, and must lie between 1 and {most}, or be 0 for no limit")
        for name, most in known.items()
        if not 0 <= (number := getattr(message, name)) <= most
    ]
    if found:
        raise InvalidArgument("; ".join(f"{item.field}: {item.description}" for item in found), found)
