"""Reading: what callers see of tasks, and what they do not."""

from __future__ import annotations

import grpc
import pytest

from waybill.api.v1 import dispatcher_pb2, task_pb2

FAN = task_pb2.Plan(
    steps=[
        task_pb2.PlanStep(name="left", agent="echo"),
        task_pb2.PlanStep(name="right", agent="echo", after=["left"]),
        task_pb2.PlanStep(name="other", agent="echo", after=["left"]),
    ]
)


async def refused(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_given_several_last_steps_then_the_output_is_an_object_of_theirs(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=FAN)).task
    await suite.run_steps(["echo"], b"7")
    done = (await suite.stub.ReadTask(dispatcher_pb2.ReadTaskRequest(name=task.name))).task
    assert done.output.data == b'{"right":7,"other":7}'
    assert done.ended_step_count == done.step_count == 3


async def test_steps_are_listed_in_pages_with_their_dependencies(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=FAN)).task
    first = await suite.stub.ReadSteps(dispatcher_pb2.ReadStepsRequest(parent=task.name, page_size=2))
    second = await suite.stub.ReadSteps(
        dispatcher_pb2.ReadStepsRequest(parent=task.name, page_size=2, page_token=first.next_page_token)
    )
    steps = [*first.steps, *second.steps]
    assert [step.name.split("/")[-1] for step in steps] == ["left", "right", "other"]
    assert [list(step.depends_on) for step in steps] == [[], ["left"], ["left"]]
    assert second.next_page_token == ""
    await suite.run_steps(["echo"])


async def test_metrics_are_the_sum_of_the_steps(suite) -> None:
    await suite.announce("echo")
    task = (await suite.submit(plan=FAN)).task
    await suite.run_steps(["echo"])
    request = dispatcher_pb2.ReadTaskMetricsRequest(name=task.name)
    metrics = (await suite.stub.ReadTaskMetrics(request)).metrics
    assert metrics.run_ms == sum(step.run_ms for step in metrics.steps) == 9
    assert metrics.wait_ms == sum(step.wait_ms for step in metrics.steps)
    assert [step.attempts for step in metrics.steps] == [1, 1, 1]


async def test_a_task_of_another_tenant_does_not_exist(suite) -> None:
    task = (await suite.submit(goal="mine", tenant="one")).task
    other = (("x-waybill-tenant", "two"),)
    calls = [
        suite.stub.ReadTask(dispatcher_pb2.ReadTaskRequest(name=task.name), metadata=other),
        suite.stub.ReadSteps(dispatcher_pb2.ReadStepsRequest(parent=task.name), metadata=other),
        suite.stub.ReadTaskMetrics(dispatcher_pb2.ReadTaskMetricsRequest(name=task.name), metadata=other),
        suite.stub.ReadEvents(dispatcher_pb2.ReadEventsRequest(name=task.name), metadata=other),
        suite.stub.SteerTask(
            dispatcher_pb2.SteerTaskRequest(name=task.name, action=dispatcher_pb2.TASK_ACTION_CANCEL, request_id="r"),
            metadata=other,
        ),
        suite.events(task.name, tenant="two"),
    ]
    assert [(await refused(call))[0] for call in calls] == [grpc.StatusCode.NOT_FOUND] * len(calls)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (dispatcher_pb2.ReadTaskRequest(name="jobs/1"), "name"),
        (dispatcher_pb2.ReadTasksRequest(page_token="!"), "page_token"),
        (dispatcher_pb2.ReadTasksRequest(page_size=-1), "page_size"),
        (dispatcher_pb2.ReadTasksRequest(filter=task_pb2.TaskFilter(states=[77])), "filter.states"),
        (dispatcher_pb2.ReadEventsRequest(name="tasks/0-1", from_sequence=-1), "from_sequence"),
    ],
)
async def test_a_bad_field_is_named(suite, request_, field: str) -> None:
    method = getattr(suite.stub, type(request_).__name__.removesuffix("Request"))
    code, details = await refused(method(request_))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(field)


async def test_a_worker_that_does_not_answer_is_listed_all_the_same(suite) -> None:
    await suite.announce("echo")
    workers = (await suite.stub.ReadWorkers(dispatcher_pb2.ReadWorkersRequest())).workers
    assert [(worker.worker, worker.running) for worker in workers] == [("hand.1", -1)]


async def test_events_that_do_not_exist_yet_are_none(suite) -> None:
    task = (await suite.submit(goal="why?")).task
    for first in (task.last_sequence + 1, 1_000, 2**63 - 1):
        assert list((await suite.call("ReadEvents", name=task.name, from_sequence=first)).events) == []
