"""Answers: a person's word to a step that waits for it."""

from __future__ import annotations

import asyncio
import time

from waybill.api.v1 import task_pb2
from waybill.core.answers import check_answer
from waybill.core.limits import MAX_INPUT_BYTES
from waybill.core.task import StepState
from waybill.errors import InvalidArgument
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import Request, StepRecord, TaskRecord
from waybill.rpc.payloads import payload_defect
from waybill.telemetry import conventions, tracing
from waybill.telemetry.tracing import TaskTrace
from waybill_dispatcher.history import History

_NS_PER_MS = 1_000_000


class Answers:
    """Answers to the questions of steps."""

    def __init__(self, ledger: Ledger, history: History) -> None:
        self._ledger = ledger
        self._history = history

    async def answer(self, request: Request, task_id: str, step_name: str, answer: task_pb2.Payload) -> task_pb2.Step:
        """Give a step its answer; the step after the call. May be repeated under its request.

        Raises NotFound, AlreadyExists, InvalidArgument with every field of the answer that does not fit the question,
        and FailedPrecondition if the step does not wait for an answer, as when the answer is late.
        """
        defect = payload_defect(answer, MAX_INPUT_BYTES) if answer.data else "is required"
        if defect:
            raise InvalidArgument.of_field("answer", defect)
        record = await self._history.changeable(request.tenant, task_id)
        step = await self._history.numbered_step(record, step_name)
        if step.question is not None and step.question.answer_schema:
            await asyncio.to_thread(check_answer, step.question.answer_schema, answer.data)
        await self._ledger.answer(task_id, step.number, answer.data, request)
        if step.state is StepState.WAITING and tracing.may_record(TaskTrace.read(record.traceparent).traceparent):
            _trace_wait(record, step)
        return await self._history.step(request.tenant, task_id, step_name)


def _trace_wait(record: TaskRecord, step: StepRecord) -> None:
    """Tell the task's trace how long it has waited for a person."""
    asked_ns, now_ns = step.started_ms * _NS_PER_MS, time.time_ns()
    span = tracing.begin(
        conventions.ASK,
        step.name,
        attributes={conventions.TASK: record.id, conventions.STEP: step.name, conventions.TENANT: record.tenant},
        parent=TaskTrace.read(record.traceparent).context(),
        start_ns=asked_ns,
    )
    span.add_event(conventions.ASKED, timestamp=asked_ns)
    span.add_event(conventions.ANSWERED, {conventions.WAIT_MS: max(0, now_ns - asked_ns) // _NS_PER_MS})
    span.end()
