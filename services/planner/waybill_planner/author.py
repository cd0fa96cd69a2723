"""Asking a model for a plan or a patch: its answer is read and checked, and what is wrong goes back to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from waybill.api.v1 import planner_pb2
from waybill.cancellation import cancel_all
from waybill.chat import ChatRequest, Message
from waybill.core.limits import STEP_NAME
from waybill.core.task import Failure, Usage
from waybill.errors import InvalidArgument, WaybillError
from waybill.models.client import ModelClient
from waybill.models.config import Endpoint
from waybill.models.meter import BegunCall, CallEnd, CappedMeter
from waybill.rpc.events import failure_to_proto, usage_to_proto
from waybill.telemetry.logs import get_logger
from waybill_planner.prompts import complaint

MAX_REPAIRS = 2
"""How often an answer that cannot be used goes back to the model."""
PROBLEMS_TOLD = 20
_STEPS_TOLD_SECONDS = 0.5
_NAMES_TOLD = 10
_NAME = re.compile(rf'"name"\s*:\s*"({STEP_NAME.pattern})"')
_MUCH = Usage(1_000_000, 1_000_000)

_log = get_logger(__name__)

Written = TypeVar("Written")


@dataclass(frozen=True, slots=True)
class Cap:
    """What may be spent on one question. `budgeted`: a model without a price is not asked. `name` tells the provider
    whose calls these are, and `first_call` is the number of the first; `seconds` is the time for all of it.
    """

    cost_microusd: int
    budgeted: bool = False
    name: str = ""
    first_call: int = 1
    seconds: float | None = None


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
    def provider_model(self) -> str:
        """The provider's name of it."""
        return self._client.models.models[self.model].model

    @property
    def endpoint(self) -> str:
        """The operator's name of the place where it is."""
        return self._client.models.models[self.model].endpoint

    @property
    def limits(self) -> Endpoint:
        """What may be asked of that place."""
        return self._client.models.endpoint_of(self.model)

    def costs(self) -> bool:
        """Whether the model, or one that stands in for it, is known to cost anything."""
        names = (self.model, *self._client.models.models[self.model].fallbacks)
        return any(self._client.prices.cost_microusd(name, _MUCH) for name in names)

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
        try:
            async with asyncio.timeout(cap.seconds):
                answer = await self._converse(rules, question, schema, cap, read, told)
        except TimeoutError:
            answer = Answer(None, Failure("MODEL_UNAVAILABLE", "the model has not come to an end in time"))
        except Exception as error:  # whoever waits for the answer has to get one
            _log.exception("asking the model failed", exc_info=error)
            answer = Answer(None, Failure("MODEL_UNAVAILABLE", "asking the model ended by an internal error"))
        told.put_nowait(answer)

    async def _converse(
        self,
        rules: str,
        question: str,
        schema: bytes,
        cap: Cap,
        read: Callable[[str], Written],
        told: asyncio.Queue[Told | Answer[Written]],
    ) -> Answer[Written]:
        meter = CappedMeter(
            cap.cost_microusd,
            cap.name,
            max(1, cap.first_call),
            cap.budgeted,
            lambda call, end: told.put_nowait(_call(call, end)),
        )
        messages: tuple[Message, ...] = (Message("system", rules), Message("user", question))
        problems: list[str] = []
        for repair in range(MAX_REPAIRS + 1):
            told.put_nowait(planner_pb2.PlannerProgress(message=_beginning(repair, problems)))
            try:
                reply = await self._client.chat(
                    ChatRequest(messages, schema=schema), meter=meter, model=self.model, text=_Sketch(told)
                )
            except WaybillError as error:
                return Answer(None, Failure(error.reason, error.message))
            try:
                written = await asyncio.to_thread(read, reply.text)
            except InvalidArgument as error:
                problems = [f"{item.field}: {item.description}" for item in error.violations] or [error.message]
                messages = (*messages, reply.message, Message("user", complaint(problems[:PROBLEMS_TOLD])))
            else:
                return Answer(written)
        message = f"what the model wrote cannot be used after {MAX_REPAIRS} repairs: {'; '.join(problems[:3])}"
        return Answer(None, Failure("MODEL_PLAN_INVALID", message))


class _Sketch:
    """Tells which steps a model has written so far, a few times a second."""

    def __init__(self, told: asyncio.Queue[Told | Answer[Written]]) -> None:
        self._told: asyncio.Queue[Told | Answer[Written]] = told
        self._text = ""
        self._shown = 0
        self._next_at = 0.0

    def write(self, text: str) -> None:
        """More of the answer."""
        self._text += text
        now = asyncio.get_running_loop().time()
        if now < self._next_at:
            return
        names = _NAME.findall(self._text)
        if len(names) > self._shown:
            new, self._shown, self._next_at = names[self._shown :], len(names), now + _STEPS_TOLD_SECONDS
            more = f"{len(new) - _NAMES_TOLD} more, " if len(new) > _NAMES_TOLD else ""
            steps = f"{more}{', '.join(new[-_NAMES_TOLD:])}"
            self._told.put_nowait(planner_pb2.PlannerProgress(message=f"the model writes: {steps}"))

    def restart(self) -> None:
        """The answer begins anew."""
        self._text, self._shown = "", 0


def _beginning(repair: int, problems: list[str]) -> str:
    if not repair:
        return "asking the model"
    return f"asking the model again, as its answer cannot be used: {problems[0]}"


def _call(call: BegunCall, end: CallEnd) -> planner_pb2.PlannerCall:
    return planner_pb2.PlannerCall(
        model=call.plan.model,
        endpoint=call.plan.endpoint,
        usage=usage_to_proto(end.usage),
        retry_after_ms=end.told.retry_after_ms or int(end.told.throttled),
    )


def fallen_back(failure: Failure) -> planner_pb2.PlannerProgress:
    """What is told where the planner goes on without the model."""
    return planner_pb2.PlannerProgress(message="planning without the model", failure=failure_to_proto(failure))
