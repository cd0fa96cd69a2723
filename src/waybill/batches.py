"""Submissions on their way: many of them as messages, what they share converted once, in batches that calls carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.core.limits import MAX_MESSAGE_BYTES
from waybill.core.plan import Plan
from waybill.resources import Submission, plan_message

BATCH_SUBMISSIONS = 250
"""So many travel in one call. More make calls no cheaper, and their answers later."""
BATCH_BYTES = MAX_MESSAGE_BYTES // 2


def batches_of(submissions: Iterable[Submission]) -> list[gateway_pb2.BatchSubmitTasksRequest]:
    """The submissions in their order, as requests that one call may carry, by number and by size.

    Raises `InvalidArgument` or `InvalidPlan` for the first one that has no message.
    """
    plans = _Plans(held=isinstance(submissions, list | tuple))
    batches: list[gateway_pb2.BatchSubmitTasksRequest] = []
    batch = gateway_pb2.BatchSubmitTasksRequest()
    size_bytes = 0
    for submission in submissions:
        request = batch.requests.add(request_id=submission.chosen_request_id())
        submission.fill(request.spec, plans.message)
        added_bytes = request.ByteSize()
        is_full = len(batch.requests) > BATCH_SUBMISSIONS or size_bytes + added_bytes > BATCH_BYTES
        if is_full and len(batch.requests) > 1:
            batches.append(batch)
            following = gateway_pb2.BatchSubmitTasksRequest()
            following.requests.add().CopyFrom(request)
            del batch.requests[-1]
            batch, size_bytes = following, 0
        size_bytes += added_bytes
    if batch.requests:
        batches.append(batch)
    return batches


class _Plans:
    """Plans of the submissions of one call, each converted once.

    A mapping is known by what it says, as it may say something else by the next submission. Where all submissions are
    `held`, nobody has the chance to change a plan in between, so that each is known by being the same object.
    """

    def __init__(self, *, held: bool) -> None:
        self._held = held
        self._by_object: dict[int, tuple[object, task_pb2.Plan]] = {}
        self._by_text: dict[bytes, task_pb2.Plan] = {}

    def message(self, plan: Any) -> task_pb2.Plan:
        """The plan as a message. Raises `InvalidArgument` or `InvalidPlan`."""
        if self._held or isinstance(plan, Plan):
            known = self._by_object.get(id(plan))
            if known is None:
                known = self._by_object[id(plan)] = (plan, plan_message(plan))  # kept, so that its id stays its own
            return known[1]
        if not isinstance(plan, Mapping):
            return plan_message(plan)
        try:
            text = msgspec.json.encode(plan)
        except (TypeError, ValueError, RecursionError):
            return plan_message(plan)  # which tells what is wrong
        message = self._by_text.get(text)
        if message is None:
            message = self._by_text[text] = plan_message(plan)
        return message
