"""Asking a model for a plan or a patch: its answer is read and checked, and what is wrong goes back to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from waybill.api.v1 import planner_pb2
from waybill.cancellation import cancel_all
from waybill.chat import ChatRequest, Message
from waybill.core.task import Failure
from waybill.errors import BudgetExhausted, InvalidArgument, WaybillError
from waybill.models.client import ModelClient
from waybill.models.meter import CappedMeter, OverBudget
from waybill.rpc.events import failure_to_proto, usage_to_proto
from waybill_planner.prompts import complaint

MAX_REPAIRS = 2
"""How often an answer that cannot be used goes back to the model."""
PROBLEMS_TOLD = 20
_STEPS_TOLD_SECONDS = 0.5
_NAME = '"name"'

Written = TypeVar("Written")


@dataclass(frozen=True, slots=True)
class Cap:
    """What may be spent on one question. `budgeted`: a model without a price is not asked. `name` tells the provider
    whose calls these are.
    """

    cost_microusd: int
    budgeted: bool
    name: str


@dataclass(frozen=True, slots=True)
class Answer(Generic[Written]):
    """What came of a question: what was written and checked, or why there is nothing."""

    written: Written | None
    failure: Failure | None = None


Told = planner_pb2.PlannerProgress | planner_pb2.PlannerCall
"""What is told on the way."""


class Author:
    """Writes with one model."""

    def __init__(self, client: ModelClient) -> None:
        self._client = client

    @property
    def model(self) -> str:
        """The operator's name of the model."""
        return self._client.models.planner

    @property
    def endpoint(self) -> str:
        """The operator's name of the place where it is."""
        return self._client.models.models[self.model].endpoint

    def is_priced(self) -> bool:
        """Whether the model's calls have a known price."""
        request = ChatRequest((Message("user", ""),))
        return self._client.plan(self.model, request, {"messages": []}).priced

    async def write(
        self, rules: str, question: str, schema: bytes, cap: Cap, read: Callable[[str], Written]
    ) -> AsyncIterator[Told | Answer[Written]]:
        """Ask until `read` takes the answer, twice more at most. Yields what there is to tell, and the answer last.

        `read` raises InvalidArgument with what is wrong. Raises nothing that a model or its provider can cause.
        """
        told: asyncio.Queue[Told | Answer[Written]] = asyncio.Queue()
        writing = asyncio.create_task(self._write(rules, question, schema, cap, read, told))
        try:
            while True:
                item = await told.get()
                yield item
                if isinstance(item, Answer):
                    return
        finally:
            await cancel_all([writing])

    async def _write(
        self,
        rules: str,
        question: str,
        schema: bytes,
        cap: Cap,
        read: Callable[[str], Written],
        told: asyncio.Queue[Told | Answer[Written]],
    ) -> None:
        meter = CappedMeter(cap.cost_microusd if cap.budgeted or self.is_priced() else 0, cap.name)
        messages: tuple[Message, ...] = (Message("system", rules), Message("user", question))
        problems: list[str] = []
        for repair in range(MAX_REPAIRS + 1):
            told.put_nowait(planner_pb2.PlannerProgress(message=_beginning(repair, problems)))
            reported = len(meter.ended)
            try:
                reply = await self._client.chat(
                    ChatRequest(messages, schema=schema), meter=meter, model=self.model, text=_Sketch(told)
                )
            except WaybillError as error:
                _report(meter, reported, told)
                told.put_nowait(Answer(None, Failure(error.reason, error.message)))
                return
            except OverBudget as over:
                _report(meter, reported, told)
                told.put_nowait(Answer(None, Failure(BudgetExhausted.reason, f"{over.left_microusd} are left")))
                return
            _report(meter, reported, told)
            try:
                written = await asyncio.to_thread(read, reply.text)
            except InvalidArgument as error:
                problems = [f"{item.field}: {item.description}" for item in error.violations] or [error.message]
                messages = (*messages, reply.message, Message("user", complaint(problems[:PROBLEMS_TOLD])))
            else:
                told.put_nowait(Answer(written))
                return
        message = f"what the model wrote cannot be used after {MAX_REPAIRS} repairs: {problems[0]}"
        told.put_nowait(Answer(None, Failure("MODEL_PLAN_INVALID", message)))


class _Sketch:
    """Tells how many steps a model has written so far, a few times a second."""

    def __init__(self, told: asyncio.Queue[Told | Answer[Written]]) -> None:
        self._told: asyncio.Queue[Told | Answer[Written]] = told
        self._text = ""
        self._shown = 0
        self._next_at = 0.0

    def write(self, text: str) -> None:
        """More of the answer."""
        self._text += text
        count, now = self._text.count(_NAME), asyncio.get_running_loop().time()
        if count > self._shown and now >= self._next_at:
            self._shown, self._next_at = count, now + _STEPS_TOLD_SECONDS
            steps = "1 step" if count == 1 else f"{count} steps"
            self._told.put_nowait(planner_pb2.PlannerProgress(message=f"the model has written {steps}"))

    def restart(self) -> None:
        """The answer begins anew."""
        self._text, self._shown = "", 0


def _beginning(repair: int, problems: list[str]) -> str:
    if not repair:
        return "asking the model"
    return f"asking the model again, as its answer cannot be used: {problems[0]}"


def _report(meter: CappedMeter, first: int, told: asyncio.Queue[Told | Answer[Written]]) -> None:
    for call, end in meter.ended[first:]:
        told.put_nowait(
            planner_pb2.PlannerCall(
                model=call.plan.model,
                endpoint=call.plan.endpoint,
                usage=usage_to_proto(end.usage),
                retry_after_ms=end.told.retry_after_ms,
            )
        )


def fallen_back(failure: Failure) -> planner_pb2.PlannerProgress:
    """What is told where the planner goes on without the model."""
    return planner_pb2.PlannerProgress(message="planning without the model", failure=failure_to_proto(failure))
