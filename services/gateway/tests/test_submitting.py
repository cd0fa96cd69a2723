"""A batch is split where it has to be, and its answers are put together in the order of its submissions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_gateway.caller import Caller
from waybill_gateway.submitting import Submitting

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.core.limits import MIB
from waybill.errors import InvalidArgument, Unavailable

KINDS = ["plan", "goal", "template", "nothing", "bad id"]


class Upstream:
    """A dispatcher that names each task after its request, and keeps what it was sent; without templates if told."""

    def __init__(self, *, planner_is_away: bool = False) -> None:
        self.planner_is_away = planner_is_away
        self.calls: list[list[str]] = []

    async def CreateTasks(self, request: dispatcher_pb2.CreateTasksRequest, **_: Any) -> Any:
        self.calls.append([item.request_id for item in request.submissions])
        await asyncio.sleep(0)
        if self.planner_is_away and request.submissions[0].spec.template:
            raise Unavailable("the planner does not answer", reason="PLANNER_UNAVAILABLE")
        tasks = [task_pb2.Task(name=item.request_id, goal=item.tenant) for item in request.submissions]
        return dispatcher_pb2.CreateTasksResponse(results=[gateway_pb2.SubmitResult(task=task) for task in tasks])


def submission(kind: str, number: int) -> gateway_pb2.SubmitTaskRequest:
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])
    spec = {
        "plan": task_pb2.TaskSpec(plan=plan),
        "goal": task_pb2.TaskSpec(goal="Why?"),
        "template": task_pb2.TaskSpec(template="weekly"),
        "nothing": task_pb2.TaskSpec(),
        "bad id": task_pb2.TaskSpec(goal="Why?"),
    }[kind]
    return gateway_pb2.SubmitTaskRequest(spec=spec, request_id="a b" if kind == "bad id" else f"r{number}")


def caller() -> Caller:
    return Caller.within("acme", 30)


def submit(upstream: Upstream, kinds: list[str]) -> gateway_pb2.BatchSubmitTasksResponse:
    requests = [submission(kind, number) for number, kind in enumerate(kinds)]
    batch = gateway_pb2.BatchSubmitTasksRequest(requests=requests)
    return asyncio.run(Submitting(upstream).submit_batch(caller(), batch))  # type: ignore[arg-type]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=30))
def test_whatever_a_batch_is_made_of_each_submission_gets_its_own_answer(kinds: list[str]) -> None:
    upstream = Upstream()
    results = submit(upstream, kinds).results
    for number, (kind, result) in enumerate(zip(kinds, results, strict=True)):
        if kind in ("nothing", "bad id"):
            (violation,) = result.refusal.violations
            assert violation.field == ("goal" if kind == "nothing" else "request_id")
        else:
            assert (result.task.name, result.task.goal) == (f"r{number}", "acme")
    made = [f"r{number}" for number, kind in enumerate(kinds) if kind == "template"]
    plain = [f"r{number}" for number, kind in enumerate(kinds) if kind in ("plan", "goal")]
    assert sorted(upstream.calls) == sorted(part for part in (made, plain) if part)


def test_given_the_planner_is_away_then_only_submissions_by_templates_are_without_an_answer() -> None:
    results = submit(Upstream(planner_is_away=True), ["plan", "template", "nothing", "goal", "template"]).results
    told = [result.task.name or result.refusal.reason for result in results]
    assert told == ["r0", "PLANNER_UNAVAILABLE", "INVALID_ARGUMENT", "r3", "PLANNER_UNAVAILABLE"]


def test_given_no_submission_gets_an_answer_then_the_batch_has_none() -> None:
    with pytest.raises(Unavailable, match="planner"):
        submit(Upstream(planner_is_away=True), ["template", "template"])
    with pytest.raises(InvalidArgument, match="requests"):
        submit(Upstream(), [])


async def test_given_more_bytes_than_one_call_may_have_then_a_batch_travels_in_parts_and_comes_back_in_order() -> None:
    upstream = Upstream()
    requests = [submission("goal", number) for number in range(7)]
    for request in requests[::2]:
        request.spec.documents.add(name="a", data=b"x" * 7 * MIB)
    batch = gateway_pb2.BatchSubmitTasksRequest(requests=requests)
    response = await Submitting(upstream).submit_batch(caller(), batch)  # type: ignore[arg-type]
    assert [result.task.name for result in response.results] == [f"r{number}" for number in range(7)]
    assert sorted(upstream.calls) == [["r0", "r1", "r2", "r3"], ["r4", "r5", "r6"]]
