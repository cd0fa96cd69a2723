"""Owns the client's calls about money and limits: what was used, and what may be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.costs import Limit, ModelCall, TenantBudget, UsageReport
from waybill.errors import InvalidArgument
from waybill.resources import Step, Task
from waybill.steering import chosen_request_id, step_name, task_name

_PAGE_SIZE = 200


class Spending(ABC):
    """Calls that read usage and model calls, and that read and set budgets and limits."""

    @abstractmethod
    async def call(self, method: str, request: Any) -> Any:
        """Make a unary call, repeated while nothing answers."""

    async def usage(
        self,
        task: Task | str | None = None,
        *,
        from_day: date | str | None = None,
        until_day: date | str | None = None,
    ) -> UsageReport:
        """What a task used, by step, agent and model; without one, what the tenant used from one UTC day to another
        (today unless told otherwise, at most 400 days), by day, agent and model.

        Raises `NotFound`, `InvalidArgument`.
        """
        request = gateway_pb2.GetUsageRequest(
            task=task_name(task) if task is not None else "",
            from_day=str(from_day or ""),
            until_day=str(until_day or ""),
        )
        return UsageReport.of(await self.call("GetUsage", request))

    async def model_calls(self, task: Task | str, step: Step | str | None = None) -> AsyncIterator[ModelCall]:
        """The model calls of a task, oldest first, page after page; of one step with prompts and responses, where the
        operator keeps them. Raises `NotFound`.
        """
        parent = task_name(task) if step is None else step_name(task, step)
        request = gateway_pb2.ListModelCallsRequest(parent=parent, page_size=_PAGE_SIZE)
        while True:
            page = await self.call("ListModelCalls", request)
            for made in page.calls:
                yield ModelCall.of(made)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def tenant_budget(self) -> TenantBudget:
        """What the tenant that this client speaks for may spend, and has."""
        return TenantBudget.of((await self.call("GetTenantBudget", gateway_pb2.GetTenantBudgetRequest())).budget)

    async def set_tenant_budget(
        self, *, max_total_microusd: int = 0, max_day_microusd: int = 0, request_id: str | None = None
    ) -> TenantBudget:
        """Set what the tenant that this client speaks for may spend in all and in a UTC day; 0 is no limit.

        Both are replaced. Calls that are under way go on. Raises `InvalidArgument`, `AlreadyExists`.
        """
        with InvalidArgument.unless_fitting("budget", "needs whole numbers of millionths of a US dollar"):
            budget = task_pb2.TenantBudget(max_total_microusd=max_total_microusd, max_day_microusd=max_day_microusd)
        request = gateway_pb2.SetTenantBudgetRequest(budget=budget, request_id=chosen_request_id(request_id))
        return TenantBudget.of((await self.call("SetTenantBudget", request)).budget)

    async def limits(self) -> list[Limit]:
        """The limits that were set or learned, by name, with who holds permits and who waits."""
        response = await self.call("ListLimits", gateway_pb2.ListLimitsRequest())
        return [Limit.of(limit) for limit in response.limits]

    async def set_limit(
        self,
        limit: Limit | str,
        *,
        max_concurrency: int = 0,
        requests_per_minute: int = 0,
        tokens_per_minute: int = 0,
        request_id: str | None = None,
    ) -> Limit:
        """Set a limit for all tenants, by a name such as "agent:writer", "tenant:acme", "key:crm" or "model:default".

        All three numbers are replaced, 0 is no limit, and a limit without any is removed. Raises `InvalidArgument`,
        `AlreadyExists`.
        """
        with InvalidArgument.unless_fitting("limit", "needs whole numbers"):
            wanted = task_pb2.Limit(
                name=limit_name(limit),
                max_concurrency=max_concurrency,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
            )
        request = gateway_pb2.SetLimitRequest(limit=wanted, request_id=chosen_request_id(request_id))
        return Limit.of((await self.call("SetLimit", request)).limit)


def limit_name(limit: Limit | str) -> str:
    """Resource name of a limit that was given as itself, by name, or without its collection."""
    name = limit.name if isinstance(limit, Limit) else limit
    return name if name.startswith("limits/") else f"limits/{name}"
