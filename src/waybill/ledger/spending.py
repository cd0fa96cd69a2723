"""Model calls and their money, budgets, and the limits on how much may run: what changes them and what reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import msgspec

from waybill.core import limits
from waybill.core.budget import BudgetAction, TaskPolicy
from waybill.core.task import CallState, Priority, Usage
from waybill.errors import AlreadyExists, NotFound
from waybill.ledger import packing, unpacking
from waybill.ledger.call_records import (
    CallDecision,
    CallOpening,
    CallRecord,
    CallVerdict,
    LimitRecord,
    Observed,
    Rates,
    TenantBudget,
    UsageRow,
)
from waybill.ledger.connection import Part
from waybill.ledger.records import Request, StepRecord, StepRef, TaskRecord
from waybill.ledger.steering import ANYBODY, REUSED, Steering

NOTHING_TOLD = Observed()
"""A response that says nothing of its provider's limits."""
_EPOCH = date(1970, 1, 1)
_CALL_FIELDS = (
    "state",
    "nonce",
    "day",
    "agent",
    "model",
    "endpoint",
    "started",
    "ended",
    "worst_input",
    "worst_output",
    "worst_cost",
)
_CUT = b"\n[cut]"
_Values = tuple[CallState, str, int, str, str, str, int, int, int, int, int, int, int, int, int, int, int]
_call_values = msgspec.msgpack.Decoder(_Values).decode
"""What a record holds: `_CALL_FIELDS`, then the fields of `Usage`."""


class Spending(Steering):
    """The calls that spend money and take permits, in one partition."""

    async def begin_call(self, worker_id: str, ref: StepRef, opening: CallOpening) -> CallDecision:
        """Reserve the worst case of a model call, and a permit for it, before it is made.

        `ref` is the attempt that makes it; for the planner, step 0 and its round, with no worker. After Unavailable,
        and after WAIT, ask again with the same nonce. Raises ResourceExhausted if the store is full.
        """
        rates = opening.rates
        reply = await self._call(
            "begin_call",
            worker_id,
            packing.member(ref),
            opening.number,
            opening.nonce,
            opening.model,
            opening.endpoint,
            *packing.usage_arguments(opening.worst),
            rates.max_concurrency,
            rates.requests_per_minute,
            rates.tokens_per_minute,
            limits.MAX_CALLS_PER_TASK,
            int(opening.patient),
            _capped(opening.prompt),
        )
        verdict = CallVerdict(reply[0].decode())
        if verdict is CallVerdict.WAIT:
            return CallDecision(verdict, wait_ms=reply[1])
        if verdict is CallVerdict.OVER:
            return CallDecision(
                verdict, scope=reply[1].decode(), left_microusd=reply[2], on_limit=BudgetAction(reply[3].decode())
            )
        return CallDecision(verdict)

    async def end_call(
        self, ref: StepRef, number: int, usage: Usage, observed: Observed = NOTHING_TOLD, response: bytes = b""
    ) -> bool:
        """Put what a call used in the place of what was reserved for it, also when its attempt is over; False if the
        call is not known (any more). May be repeated.

        A usage that the provider gave no account of, by `observed`, or whose `estimated_microusd` is not 0, is a guess.
        """
        windows = (
            observed.requests_per_minute,
            observed.remaining_requests,
            observed.reset_requests_ms,
            observed.tokens_per_minute,
            observed.remaining_tokens,
            observed.reset_tokens_ms,
        )
        told: list[Part] = [int(observed.throttled), observed.retry_after_ms]
        told += (b"" if value is None else value for value in windows)
        return bool(
            await self._call(
                "end_call",
                packing.member(ref),
                number,
                int(not observed.accounted),
                *packing.usage_arguments(usage),
                *told,
                _capped(response),
            )
        )

    async def pass_call(
        self, ref: StepRef, number: int, nonce: str, model: str, endpoint: str, usage: Usage, retry_after_ms: int = 0
    ) -> bool:
        """As `end_call` for a call of the planner, with what is left of its reserve, and its permit, for the next one.

        `nonce` is the next call's. False if no more calls may be made. May be repeated under its nonce.
        """
        return bool(
            await self._call(
                "pass_call",
                packing.member(ref),
                number,
                nonce,
                model,
                endpoint,
                *packing.usage_arguments(usage),
                retry_after_ms,
            )
        )

    async def drop_call(self, ref: StepRef, number: int) -> bool:
        """Give back what was reserved for a call that was not made; False if it is not open. May be repeated."""
        return bool(await self._call("drop_call", packing.member(ref), number))

    async def set_tenant_budget(
        self, tenant: str, max_total_microusd: int, max_day_microusd: int, request: Request = ANYBODY
    ) -> None:
        """Set what a tenant may spend in all and in a UTC day; 0 is no limit."""
        reply = await self._call("set_tenant_budget", tenant, max_total_microusd, max_day_microusd, request.id)
        if reply == b"reused":
            raise AlreadyExists(REUSED)

    async def set_limit(self, name: str, rates: Rates, request: Request = ANYBODY) -> None:
        """Set a limit, by a name such as "agent:writer"; one that limits nothing is removed."""
        reply = await self._call(
            "set_limit",
            name,
            rates.max_concurrency,
            rates.requests_per_minute,
            rates.tokens_per_minute,
            request.tenant,
            request.id,
        )
        if reply == b"reused":
            raise AlreadyExists(REUSED)

    async def calls(self, task_id: str, number: int | None = None) -> list[CallRecord]:
        """The model calls of a task, or of its step `number`, oldest first, without their texts."""
        stored: dict[bytes, bytes] = await self._store.command("HGETALL", self._key("calls", task_id))
        found = []
        for field, packed in stored.items():
            step_number, attempt, name = field.decode().split(":")
            if name != "open" and number in (None, int(step_number)):
                call = _call_of(int(step_number), int(attempt), int(name), packed)
                found += [call] if call else []
        found.sort(key=lambda call: (call.started_ms, call.step_number, call.attempt, call.number))
        return found

    async def with_texts(self, task_id: str, found: Sequence[CallRecord]) -> list[CallRecord]:
        """These calls of a task with what was kept of what was asked and answered."""
        if not found:
            return []
        fields = [f"{call.step_number}:{call.attempt}:{call.number}:{kind}" for call in found for kind in _KINDS]
        texts = await self._store.command("HMGET", self._key("artifacts", task_id), *fields)
        return [
            replace(call, prompt=texts[2 * at] or b"", response=texts[2 * at + 1] or b"")
            for at, call in enumerate(found)
        ]

    async def usage_of_task(self, task_id: str) -> list[UsageRow]:
        """What a task used, by step, agent and model. Raises NotFound."""
        task = await self.task(task_id)
        calls = await self.calls(task_id)
        return task_rows(calls, await self.steps(task_id, 1, task.step_count, payloads=False))

    async def usage_of_days(self, tenant: str, from_day: str, until_day: str) -> list[UsageRow]:
        """What a tenant used from one UTC day to another, both as "2026-11-24", by day, agent and model.

        Raises ValueError for a day that is none.
        """
        first, last = date.fromisoformat(from_day), date.fromisoformat(until_day)
        days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
        if not days:
            return []
        found = await self._store.commands(
            [("HGETALL", self._key("usage", tenant, str((day - _EPOCH).days))) for day in days]
        )
        return [row for day, counted in zip(days, found, strict=True) for row in _rows_of(day, counted)]

    async def tenant_budget(self, tenant: str) -> TenantBudget:
        """What a tenant may spend, and has."""
        today = (await self._now()).date() - _EPOCH
        kept, day = await self._store.commands(
            [
                ("HMGET", self._key("budget", tenant), "max_total", "max_day", "spent", "reserved"),
                ("HMGET", self._key("usage", tenant, str(today.days)), "spent"),
            ]
        )
        max_total, max_day, spent, reserved = (int(value or 0) for value in kept)
        return TenantBudget(max_total, max_day, spent, int(day[0] or 0), reserved)

    async def limits(self) -> list[LimitRecord]:
        """All limits that were set, configured or learned, by name."""
        names = sorted(name.decode() for name in await self._store.command("SMEMBERS", self._key("limits")))
        return [await self._limit(name) for name in names]

    async def _limit(self, name: str) -> LimitRecord:
        fields = (
            "max_concurrency",
            "requests_per_minute",
            "tokens_per_minute",
            "learned_concurrency",
            "learned_requests",
            "learned_tokens",
            "blocked",
            "slowed",
        )
        now_ms = round((await self._now()).timestamp() * 1000)
        values, held, *lines = await self._store.commands(
            [
                ("HMGET", self._key("limit", name), *fields),
                ("ZCOUNT", self._key("permits", name), f"({now_ms}", "+inf"),
                *(("ZRANGE", self._key("line", name, priority), 0, -1) for priority in Priority),
            ]
        )
        rooms = [
            ("ZCARD", self._key("lined", name, priority, tenant.decode()))
            for priority, tenants in zip(Priority, lines, strict=True)
            for tenant in tenants
        ]
        waiting = sum(await self._store.commands(rooms)) if rooms else 0
        *numbers, until_ms = (int(_number(value)) for value in values[:7])
        slowed = _number(values[7]) or 1.0
        blocked = until_ms if until_ms > now_ms else 0
        return LimitRecord(name, Rates(*numbers[:3]), Rates(*numbers[3:]), held, waiting, blocked, slowed)

    async def lines_of(self, task: TaskRecord, numbers: Sequence[int]) -> dict[int, str]:
        """In the line of which limit steps of a task stand, by number, for those that do: they are READY."""
        if not numbers:
            return {}
        names = sorted(name.decode() for name in await self._store.command("SMEMBERS", self._key("lines")))
        members = [f"{task.id}:{number}" for number in numbers]
        rooms = (self._key("lined", name, task.priority, task.tenant) for name in names)
        found = await self._store.commands([("ZMSCORE", room, *members) for room in rooms])
        return {
            number: name
            for name, places in zip(names, found, strict=True)
            for number, place in zip(numbers, places, strict=True)
            if place is not None
        }

    async def task_policy(self, task_id: str) -> TaskPolicy:
        """What a task may do. Raises NotFound."""
        request, policy = await self._fields(task_id, ["request", "policy"])
        if request is None:
            raise NotFound(f"there is no task {task_id}")
        return unpacking.policy_of(policy) or TaskPolicy()

    async def _now(self) -> datetime:
        if self.clock_ms:
            return datetime.fromtimestamp(self.clock_ms / 1000, UTC)
        seconds, _ = await self._store.command("TIME")
        return datetime.fromtimestamp(int(seconds), UTC)


_KINDS = ("prompt", "response")


def task_rows(calls: Iterable[CallRecord], steps: Iterable[StepRecord]) -> list[UsageRow]:
    """What the calls and the steps of a task used, by step, agent and model."""
    rows: dict[tuple[int, str, str], UsageRow] = {}
    for call in calls:
        if call.state is not CallState.OPEN:
            key = (call.step_number, call.agent, call.model)
            row = rows.get(key, UsageRow(call.agent, call.model, Usage(), 0, step_number=call.step_number))
            rows[key] = replace(row, usage=row.usage + call.usage, calls=row.calls + 1)
    called: dict[int, Usage] = {}
    for row in rows.values():
        called[row.step_number] = called.get(row.step_number, Usage()) + row.usage
    for step in steps:
        reported = step.usage - called.get(step.number, Usage())
        if reported != Usage():
            rows[step.number, step.agent, ""] = UsageRow(step.agent, "", reported, 0, step_number=step.number)
    return [rows[key] for key in sorted(rows)]


def _number(stored: bytes | None) -> float:
    """A field of a limit; 0 for one that is no number."""
    try:
        number = float(stored or 0)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _capped(text: bytes) -> bytes:
    if len(text) <= limits.MAX_ARTIFACT_BYTES:
        return text
    return text[: limits.MAX_ARTIFACT_BYTES - len(_CUT)].decode("utf-8", "ignore").encode() + _CUT


def _call_of(step_number: int, attempt: int, number: int, packed: bytes) -> CallRecord | None:
    """The record of a call; None for one that cannot be decoded, which counts all the same."""
    try:
        values = _call_values(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    record = dict(zip(_CALL_FIELDS, values, strict=False))
    state = CallState(record["state"])
    usage = Usage(*values[len(_CALL_FIELDS) :])
    if state is CallState.OPEN:
        worst_microusd = record["worst_cost"]
        usage = Usage(record["worst_input"], record["worst_output"], worst_microusd, estimated_microusd=worst_microusd)
    return CallRecord(
        step_number=step_number,
        attempt=attempt,
        number=number,
        state=state,
        agent=record["agent"],
        model=record["model"],
        endpoint=record["endpoint"],
        usage=usage,
        started_ms=record["started"],
        ended_ms=record["ended"],
    )


def _rows_of(day: date, stored: Mapping[bytes, bytes]) -> list[UsageRow]:
    counted: dict[tuple[str, str], dict[str, int]] = {}
    for name, count in stored.items():
        agent, found, rest = name.decode().partition(" ")
        if found:
            model, _, field = rest.rpartition(" ")
            counted.setdefault((agent, model), {})[field] = int(count)
    return [
        UsageRow(
            agent,
            model,
            Usage(*(numbers.get(field, 0) for field in unpacking.USAGE_FIELDS)),
            numbers.get("calls", 0),
            day=day.isoformat(),
        )
        for (agent, model), numbers in sorted(counted.items())
    ]
