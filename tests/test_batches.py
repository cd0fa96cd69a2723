"""Many submissions become the same messages as one at a time, in batches that calls may carry."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from client_gateway import Gateway, connected
from hypothesis import given
from hypothesis import strategies as st

from waybill.api.v1 import gateway_pb2
from waybill.batches import BATCH_BYTES, BATCH_SUBMISSIONS, batches_of
from waybill.core.plan import Plan, PlanStep
from waybill.core.task import Document, Priority
from waybill.errors import InvalidArgument, NotFound
from waybill.plan_builder import PlanBuilder
from waybill.resources import Submission, Task
from waybill.rpc.status import to_grpc_status

AGENTS = ["echo", "writer"]


def built(agent: str) -> PlanBuilder:
    plan = PlanBuilder()
    plan.step("only", agent)
    return plan


def requests_of(batches: list[gateway_pb2.BatchSubmitTasksRequest]) -> list[gateway_pb2.SubmitTaskRequest]:
    return [request for batch in batches for request in batch.requests]


PLANS: list[Any] = [
    None,
    *({"steps": [{"name": "only", "agent": agent, "input": {}}]} for agent in AGENTS),
    *(Plan((PlanStep("only", agent),)) for agent in AGENTS),
    *(built(agent) for agent in AGENTS),
]
submissions = st.builds(
    Submission,
    goal=st.sampled_from(["", "Why?"]),
    plan=st.sampled_from(PLANS),
    input=st.sampled_from([None, {"n": 1}, [2]]),
    documents=st.sampled_from([(), [Document("a", "text/plain", b"x")]]),
    paths=st.sampled_from([(), ["/srv"]]),
    priority=st.sampled_from(Priority),
    labels=st.dictionaries(st.sampled_from("ab"), st.text(max_size=3), max_size=2),
    deadline_ms=st.integers(0, 5),
    template=st.sampled_from(["", "weekly"]),
)


@given(st.lists(submissions, max_size=40), st.booleans())
def test_each_is_the_message_that_it_is_alone_whatever_stands_beside_it(many: list[Submission], held: bool) -> None:
    found = requests_of(batches_of(many if held else iter(many)))
    assert [request.spec for request in found] == [submission.spec() for submission in many]
    assert len({request.request_id for request in found}) == len(many)


def test_given_a_plan_that_changes_between_two_submissions_then_each_has_it_as_it_was() -> None:
    mapping: dict[str, Any] = {"steps": [{"name": "only", "agent": "echo", "input": {}}]}
    builder = PlanBuilder()

    def changing() -> Any:
        for number in range(3):
            mapping["steps"][0]["input"]["n"] = number
            yield Submission(plan=mapping)
            builder.step(f"s{number}", "echo")
            yield Submission(plan=builder)

    plans = [request.spec.plan for request in requests_of(batches_of(changing()))]
    assert [plan.steps[0].input.data for plan in plans[::2]] == [b'{"n":%d}' % number for number in range(3)]
    assert [len(plan.steps) for plan in plans[1::2]] == [1, 2, 3]


def test_batches_are_bounded_by_number_and_by_bytes() -> None:
    many = batches_of(Submission(goal=f"g{number}") for number in range(2 * BATCH_SUBMISSIONS + 1))
    assert [len(batch.requests) for batch in many] == [BATCH_SUBMISSIONS, BATCH_SUBMISSIONS, 1]
    assert [request.spec.goal for request in requests_of(many)] == [f"g{n}" for n in range(2 * BATCH_SUBMISSIONS + 1)]
    sizes = [BATCH_BYTES // 3, BATCH_BYTES // 2, BATCH_BYTES // 3, BATCH_BYTES + 1, 1]
    large = batches_of([Submission(goal="g", documents=[Document("a", "", b"x" * size)]) for size in sizes])
    assert [[len(item.spec.documents[0].data) for item in batch.requests] for batch in large] == [
        sizes[:2],
        sizes[2:3],
        sizes[3:4],
        sizes[4:],
    ]
    assert batches_of([]) == []


@pytest.mark.parametrize(
    "plan",
    [{"steps": [{"name": "a", "agent": object()}]}, {"stages": []}, 5, {"steps": 1}],
    ids=["agent", "unknown field", "number", "steps"],
)
@pytest.mark.parametrize("held", [True, False])
def test_a_plan_that_is_none_is_refused_as_it_is_alone(plan: Any, held: bool) -> None:
    many = [Submission(plan=plan)]
    with pytest.raises(InvalidArgument) as refused:
        batches_of(many if held else iter(many))
    with pytest.raises(InvalidArgument) as alone:
        many[0].spec()
    assert refused.value.violations == alone.value.violations


class Slow(Gateway):
    """Answers batches when the gate is open, the batch of one goal with a refusal, and counts those under way."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.under_way = self.most = 0

    async def BatchSubmitTasks(self, request: Any, context: Any) -> Any:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if request.requests[0].spec.goal == "refuse":
            await context.abort_with_status(to_grpc_status(NotFound("no such thing")))
        tasks = [gateway_pb2.SubmitResult(task=self.task(item.spec.goal)) for item in request.requests]
        return gateway_pb2.BatchSubmitTasksResponse(results=tasks)


async def test_a_few_batches_are_under_way_at_once_and_the_answers_keep_the_order() -> None:
    gateway = Slow()
    goals = [f"g{number}" for number in range(6 * BATCH_SUBMISSIONS)]
    async with connected(gateway) as client:
        submitting = asyncio.create_task(client.submit_many(Submission(goal=goal) for goal in goals))
        async with asyncio.timeout(30):
            while gateway.under_way < 4:
                await asyncio.sleep(0.01)
        gateway.gate.set()
        assert [outcome.name for outcome in await submitting if isinstance(outcome, Task)] == goals
    assert gateway.most == 4


async def test_given_one_batch_fails_then_its_error_is_raised_and_nothing_is_left_under_way() -> None:
    gateway = Slow()
    gateway.gate.set()
    goals = ["g"] * (5 * BATCH_SUBMISSIONS)
    goals[2 * BATCH_SUBMISSIONS] = "refuse"
    async with connected(gateway) as client:
        before = asyncio.all_tasks()
        with pytest.raises(NotFound, match="no such thing"):
            await client.submit_many(Submission(goal=goal) for goal in goals)
        assert not [task for task in asyncio.all_tasks() - before if "_submit_batch" in repr(task.get_coro())]
