"""Spending: what tasks and tenants used, the calls it went into, and the budgets and limits that bound it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from waybill.api.v1 import task_pb2
from waybill.core.limits import MAX_BUDGET_MICROUSD, MAX_LIMIT, MAX_TOKENS_PER_MINUTE, MAX_USAGE_DAYS
from waybill.core.task import Usage
from waybill.errors import InvalidArgument
from waybill.ledger.call_records import CallRecord, LimitRecord, Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request
from waybill.ledger.spending import task_rows
from waybill.rpc.events import usage_from_proto
from waybill_dispatcher import views
from waybill_dispatcher.history import Found, History
from waybill_dispatcher.paging import CallPosition

if TYPE_CHECKING:
    from waybill_dispatcher.archive import Archive

_CALLS_WITH_TEXTS_A_READ = 10
_PAGE_BYTES = 3 * 1024 * 1024
"""A page of calls ends before their texts are over this: a client takes 4 MiB in a message unless it is told more."""


class Spending:
    """What was spent, and what may be."""

    def __init__(self, ledger: Ledger, history: History, archive: Archive | None = None) -> None:
        self._ledger = ledger
        self._history = history
        self._archive = archive

    async def of_task(self, tenant: str, task_id: str) -> list[task_pb2.UsageRow]:
        """What a task used, by step, agent and model. Raises NotFound."""

        async def read(found: Found) -> list[task_pb2.UsageRow]:
            steps = await self._history.all_steps(found)
            names = {step.number: step.name for step in steps}
            rows = task_rows(await self._calls(found, None), steps)
            return [views.usage_row_message(row, names.get(row.step_number, "")) for row in rows]

        return await self._history.read(tenant, task_id, read)

    async def of_days(self, tenant: str, from_day: str, until_day: str) -> list[task_pb2.UsageRow]:
        """What a tenant used from one UTC day to another, today if they are empty. Raises InvalidArgument."""
        today = datetime.now(UTC).date()
        last = _day("until_day", until_day) or today
        first = _day("from_day", from_day) or min(last, today)
        days = (last - first).days + 1
        if days < 1:
            raise InvalidArgument.of_field("until_day", f"is {last}, before from_day, which is {first}")
        if days > MAX_USAGE_DAYS:
            raise InvalidArgument.of_field("from_day", f"is {days} days before the end, over {MAX_USAGE_DAYS}")
        rows = await self._ledger.usage_of_days(tenant, first.isoformat(), last.isoformat())
        return [views.usage_row_message(row, "") for row in rows]

    async def calls(
        self, tenant: str, task_id: str, step: str, after: CallPosition | None, limit: int
    ) -> tuple[list[task_pb2.ModelCall], CallPosition | None]:
        """A page of the model calls of a task, or with their texts of one step, and where the next page starts.

        Pages of long texts are shorter. Raises NotFound.
        """

        async def read(found: Found) -> tuple[list[task_pb2.ModelCall], CallPosition | None]:
            number = (await self._history.found_step(found, step)).number if step else None
            known = await self._calls(found, number)
            left = [call for call in known if after is None or _position(call) > after]
            page = left[:limit] if number is None else await self._with_texts(found, left[:limit])
            names = await self._history.step_names(found, {call.step_number for call in page if call.step_number})
            messages = [views.call_message(task_id, names.get(call.step_number, ""), call) for call in page]
            return messages, _position(page[-1]) if len(page) < len(left) else None

        return await self._history.read(tenant, task_id, read)

    async def _calls(self, found: Found, number: int | None) -> list[CallRecord]:
        if found.archived and self._archive is not None:
            return await self._archive.calls(found.record.id, number)
        return await self._ledger.calls(found.record.id, number)

    async def _with_texts(self, found: Found, calls: Sequence[CallRecord]) -> list[CallRecord]:
        if found.archived:
            return list(calls)
        page: list[CallRecord] = []
        size_bytes = 0
        for first in range(0, len(calls), _CALLS_WITH_TEXTS_A_READ):
            some = calls[first : first + _CALLS_WITH_TEXTS_A_READ]
            for call in await self._ledger.with_texts(found.record.id, some):
                size_bytes += len(call.prompt) + len(call.response)
                if page and size_bytes > _PAGE_BYTES:
                    return page
                page.append(call)
        return page

    async def tenant_budget(self, tenant: str) -> task_pb2.TenantBudget:
        """What a tenant may spend, and has."""
        return views.tenant_budget_message(await self._ledger.tenant_budget(tenant))

    async def set_tenant_budget(self, request: Request, budget: task_pb2.TenantBudget) -> task_pb2.TenantBudget:
        """Set what the caller's tenant may spend; the budget after the call. May be repeated under its request.

        Raises InvalidArgument, AlreadyExists.
        """
        for name in ("max_total_microusd", "max_day_microusd"):
            _check_number(f"budget.{name}", getattr(budget, name), MAX_BUDGET_MICROUSD)
        await self._ledger.set_tenant_budget(
            request.tenant, budget.max_total_microusd, budget.max_day_microusd, request
        )
        return await self.tenant_budget(request.tenant)

    async def limits(self) -> list[task_pb2.Limit]:
        """All limits that were set, configured or learned, by name."""
        return [views.limit_message(limit) for limit in await self._ledger.limits()]

    async def set_limit(self, request: Request, name: str, limit: task_pb2.Limit) -> task_pb2.Limit:
        """Set a limit, or remove one that limits nothing; the limit after the call. May be repeated under its request.

        Raises InvalidArgument, AlreadyExists.
        """
        _check_number("limit.max_concurrency", limit.max_concurrency, MAX_LIMIT)
        _check_number("limit.requests_per_minute", limit.requests_per_minute, MAX_LIMIT)
        _check_number("limit.tokens_per_minute", limit.tokens_per_minute, MAX_TOKENS_PER_MINUTE)
        if limit.tokens_per_minute and not name.startswith("model:"):
            raise InvalidArgument.of_field("limit.tokens_per_minute", "is for limits of models alone; leave it out")
        rates = Rates(limit.max_concurrency, limit.requests_per_minute, limit.tokens_per_minute)
        await self._ledger.set_limit(name, rates, request)
        for known in await self._ledger.limits():
            if known.name == name:
                return views.limit_message(known)
        return views.limit_message(LimitRecord(name, Rates(), Rates(), held=0, waiting=0, blocked_until_ms=0))


def total_of(rows: Iterable[task_pb2.UsageRow]) -> Usage:
    """The sum of rows of usage."""
    return sum((usage_from_proto(row.usage) for row in rows), Usage())


def _position(call: CallRecord) -> CallPosition:
    return call.started_ms, call.step_number, call.attempt, call.number


def _day(field: str, text: str) -> date | None:
    """The day that a text names, None for none. Raises InvalidArgument."""
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        day = None
    if day is None or day.isoformat() != text or day.year < 1970:
        raise InvalidArgument.of_field(field, 'must be a day from 1970 on, such as "2026-11-24"')
    return day


def _check_number(field: str, number: int, most: int) -> None:
    if not 0 <= number <= most:
        raise InvalidArgument.of_field(field, f"is {number}, and must lie between 1 and {most}, or be 0 for no limit")
