"""Owns what the commands about money and limits do. Each returns its exit code and raises `waybill.errors`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.cli import exits, spending_tables
from waybill.cli.gateway import client_of, json_line
from waybill.cli.reading import limit_microusd
from waybill.cli.spending_app import Grouping
from waybill.client import Client
from waybill.core.task import Usage
from waybill.errors import InvalidArgument
from waybill.rpc import conversion
from waybill.rpc.spending import LIMIT_NUMBERS
from waybill.steering import chosen_request_id, step_name, task_name

_PAGE_SIZE = 200


@dataclass(frozen=True)
class UsageQuestion:
    """The arguments of `waybill usage`, as typed."""

    task: str = ""
    from_day: str = ""
    until_day: str = ""
    by: Grouping | None = None


@dataclass(frozen=True)
class TypedBudget:
    """The arguments of `waybill budget set`, as typed; what is empty stays as it is."""

    total_usd: str = ""
    day_usd: str = ""
    request_id: str = ""


@dataclass(frozen=True)
class TypedLimit:
    """The arguments of `waybill limits set`, as typed; what is None stays as it is."""

    name: str
    max_concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    request_id: str = ""

    @property
    def resource(self) -> str:
        """The limit's resource name."""
        return f"limits/{self.name.removeprefix('limits/')}"

    @property
    def removes(self) -> bool:
        """Whether nothing is left of the limit."""
        return all(getattr(self, number) == 0 for number in LIMIT_NUMBERS)


async def usage(address: str, tenant: str, asked: UsageQuestion, *, as_json: bool) -> int:
    """Print what a task or the tenant used, row by row or summed."""
    if asked.task and (asked.from_day or asked.until_day):
        raise InvalidArgument.of_field("--from, --until", "are for the usage of a tenant; leave them out for a task's")
    if asked.by is not None and asked.by is (Grouping.DAY if asked.task else Grouping.STEP):
        other = "leave TASK out to see a tenant's days" if asked.task else "name a TASK to see its steps"
        raise InvalidArgument.of_field("--by", f"{asked.by} does not go with this: {other}")
    request = gateway_pb2.GetUsageRequest(
        task=task_name(asked.task) if asked.task else "", from_day=asked.from_day, until_day=asked.until_day
    )
    async with client_of(address, tenant) as client:
        response = await client.call("GetUsage", request)
    rows = response.rows if asked.by is None else _summed(response.rows, asked.by)
    if as_json:
        told = [conversion.usage_row_to_json(row) for row in rows]
        if asked.by is not None:
            told = [
                {asked.by.value: getattr(row, asked.by), "usage": one["usage"], "calls": one["calls"]}
                for row, one in zip(rows, told, strict=True)
            ]
        print(json_line({"total": conversion.usage_to_json(response.total), "rows": told}))
    elif rows:
        first = [asked.by.value] if asked.by is not None else ["step" if asked.task else "day", "agent", "model"]
        spending_tables.print_usage(rows, response.total, first)
    else:
        exits.say("nothing was used")
    return exits.OK


def _summed(rows: Iterable[task_pb2.UsageRow], by: Grouping) -> list[task_pb2.UsageRow]:
    summed: dict[str, task_pb2.UsageRow] = {}
    usages: dict[str, Usage] = {}
    for row in rows:
        key = getattr(row, by)
        known = summed.setdefault(key, task_pb2.UsageRow(**{by.value: key}))
        known.calls += row.calls
        usages[key] = usages.get(key, Usage()) + conversion.usage_from_proto(row.usage)
    for key, row in summed.items():
        row.usage.MergeFrom(conversion.usage_to_proto(usages[key]) or task_pb2.Usage())
    return [summed[key] for key in sorted(summed)]


async def calls(address: str, tenant: str, parent: str, *, as_json: bool) -> int:
    """Print the model calls of a task, or of a step with what was asked and answered, as far as that is kept."""
    task, _, step = parent.removeprefix("tasks/").partition("/")
    step = step.removeprefix("steps/")
    request = gateway_pb2.ListModelCallsRequest(
        parent=step_name(task, step) if step else task_name(task), page_size=_PAGE_SIZE
    )
    found: list[task_pb2.ModelCall] = []
    async with client_of(address, tenant) as client:
        while True:
            page = await client.call("ListModelCalls", request)
            found += page.calls
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        for call in found:
            print(json_line(conversion.call_to_json(call)))
    elif found:
        spending_tables.print_calls(found)
    else:
        exits.say("no model was called")
    return exits.OK


async def show_budget(address: str, tenant: str, *, as_json: bool) -> int:
    """Print what the tenant may spend, and has."""
    async with client_of(address, tenant) as client:
        _print_budget(await _budget(client), as_json=as_json)
    return exits.OK


async def set_budget(address: str, tenant: str, typed: TypedBudget, *, as_json: bool) -> int:
    """Set what the tenant may spend, and print it."""
    if not typed.total_usd and not typed.day_usd:
        raise InvalidArgument.of_field("--total-usd, --day-usd", "give at least one of them")
    options = {"max_total_microusd": ("--total-usd", typed.total_usd), "max_day_microusd": ("--day-usd", typed.day_usd)}
    wanted = {field: limit_microusd(text, option) for field, (option, text) in options.items() if text}
    async with client_of(address, tenant) as client:
        budget = await _budget(client) if len(wanted) < len(options) else task_pb2.TenantBudget()
        request = gateway_pb2.SetTenantBudgetRequest(request_id=chosen_request_id(typed.request_id))
        for field in options:
            setattr(request.budget, field, wanted.get(field, getattr(budget, field)))
        _print_budget((await client.call("SetTenantBudget", request)).budget, as_json=as_json)
    return exits.OK


async def _budget(client: Client) -> task_pb2.TenantBudget:
    budget: task_pb2.TenantBudget = (await client.call("GetTenantBudget", gateway_pb2.GetTenantBudgetRequest())).budget
    return budget


def _print_budget(budget: task_pb2.TenantBudget, *, as_json: bool) -> None:
    if as_json:
        print(json_line(conversion.tenant_budget_to_json(budget)))
    else:
        spending_tables.print_budget(budget)


async def list_limits(address: str, tenant: str, *, as_json: bool) -> int:
    """Print all limits."""
    async with client_of(address, tenant) as client:
        known = await _limits(client)
    if as_json:
        for limit in known:
            print(json_line(conversion.limit_to_json(limit)))
    elif known:
        spending_tables.print_limits(known)
    else:
        exits.say("nothing is limited")
    return exits.OK


async def set_limit(address: str, tenant: str, typed: TypedLimit, *, as_json: bool) -> int:
    """Set or remove a limit, and print what stands."""
    given = {number: getattr(typed, number) for number in LIMIT_NUMBERS if getattr(typed, number) is not None}
    if not given:
        raise InvalidArgument.of_field("--concurrency, --per-minute, --tokens-per-minute", "give at least one of them")
    async with client_of(address, tenant) as client:
        limit = task_pb2.Limit(name=typed.resource, **given)
        if len(given) < len(LIMIT_NUMBERS):
            for known in await _limits(client):
                if known.name == typed.resource:
                    limit = task_pb2.Limit(
                        name=known.name,
                        **{number: given.get(number, getattr(known, number)) for number in LIMIT_NUMBERS},
                    )
        request = gateway_pb2.SetLimitRequest(limit=limit, request_id=chosen_request_id(typed.request_id))
        after = (await client.call("SetLimit", request)).limit
    if as_json:
        print(json_line(conversion.limit_to_json(after)))
    elif typed.removes:
        print(f"{after.name} removed")
    else:
        spending_tables.print_limits([after])
    return exits.OK


async def _limits(client: Client) -> list[task_pb2.Limit]:
    return list((await client.call("ListLimits", gateway_pb2.ListLimitsRequest())).limits)
