"""The gateway over gRPC."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable, WaybillError
from waybill.rpc.channel import connect
from waybill.rpc.status import from_rpc_error

ACME = (("x-waybill-tenant", "acme"),)


def goal(text="Why?", request_id=""):
    return gateway_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(goal=text), request_id=request_id)


async def refusal_of(call) -> WaybillError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_submitted_task_can_be_read_listed_measured_and_cancelled(stub):
    submitted = (await stub.SubmitTask(goal())).task
    read = (await stub.GetTask(gateway_pb2.GetTaskRequest(name=submitted.name))).task
    assert read == submitted
    listed = await stub.ListTasks(gateway_pb2.ListTasksRequest(page_size=10))
    assert list(listed.tasks) == [submitted]
    steps = await stub.ListSteps(gateway_pb2.ListStepsRequest(parent=submitted.name))
    assert steps.steps[0].name == f"{submitted.name}/steps/a"
    metrics = await stub.GetTaskMetrics(gateway_pb2.GetTaskMetricsRequest(name=submitted.name))
    assert metrics.metrics.run_ms == 7
    cancelled = await stub.CancelTask(gateway_pb2.CancelTaskRequest(name=submitted.name))
    assert cancelled.task.state == task_pb2.TASK_STATE_CANCELLED
    agents = await stub.ListAgents(gateway_pb2.ListAgentsRequest())
    assert [agent.name for agent in agents.agents] == ["agents/echo"]


async def test_given_the_same_request_id_twice_then_one_task_and_with_another_spec_a_refusal(stub):
    first = await stub.SubmitTask(goal("Why?", "r1"))
    again = await stub.SubmitTask(goal("Why?", "r1"))
    assert first.task.name == again.task.name
    assert (await refusal_of(stub.SubmitTask(goal("How?", "r1")))).reason == "REQUEST_ID_REUSED"


async def test_given_no_request_id_then_each_submission_gets_one_of_its_own(stub, dispatcher):
    await stub.SubmitTask(goal())
    await stub.SubmitTask(goal())
    ids = [submission.request_id for group in dispatcher.groups for submission in group]
    assert len(set(ids)) == 2
    assert all(ids)


async def test_the_tenant_comes_from_metadata_and_sees_its_own_tasks_alone(stub):
    task = (await stub.SubmitTask(goal(), metadata=ACME)).task
    assert (await stub.GetTask(gateway_pb2.GetTaskRequest(name=task.name), metadata=ACME)).task == task
    assert isinstance(await refusal_of(stub.GetTask(gateway_pb2.GetTaskRequest(name=task.name))), NotFound)


@pytest.mark.parametrize("tenant", ["", "a b", "-a", "a" * 65])
async def test_a_malformed_tenant_is_refused_by_name(stub, tenant):
    call = stub.ListAgents(gateway_pb2.ListAgentsRequest(), metadata=(("x-waybill-tenant", tenant),))
    error = await refusal_of(call)
    assert [violation.field for violation in error.violations] == ["x-waybill-tenant"]


async def test_a_refused_batch_item_leaves_the_others_accepted(stub):
    requests = [goal("a"), goal("refuse"), goal(""), goal("b")]
    response = await stub.BatchSubmitTasks(gateway_pb2.BatchSubmitTasksRequest(requests=requests))
    assert [result.HasField("refusal") for result in response.results] == [False, True, True, False]
    assert [violation.field for violation in response.results[1].refusal.violations] == ["plan.steps[0].agent"]
    assert response.results[2].refusal.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_of_none_or_too_many_is_refused(stub, count):
    request = gateway_pb2.BatchSubmitTasksRequest(requests=[goal()] * count)
    error = await refusal_of(stub.BatchSubmitTasks(request))
    assert error.violations[0].field == "requests"


async def test_a_full_batch_travels_in_one_call(stub, dispatcher):
    requests = [goal(f"question {n}") for n in range(1000)]
    response = await stub.BatchSubmitTasks(gateway_pb2.BatchSubmitTasksRequest(requests=requests))
    assert len({result.task.name for result in response.results}) == 1000
    assert [len(group) for group in dispatcher.groups] == [1000]


@pytest.mark.parametrize(
    ("request_message", "field"),
    [
        (gateway_pb2.GetTaskRequest(name="t1"), "name"),
        (gateway_pb2.GetTaskRequest(name="tasks/"), "name"),
        (gateway_pb2.ListStepsRequest(parent=""), "parent"),
        (gateway_pb2.ListStepsRequest(parent="tasks/t1", page_size=-1), "page_size"),
        (gateway_pb2.ListTasksRequest(page_size=1001), "page_size"),
        (gateway_pb2.ListTasksRequest(page_token="forged"), "page_token"),
        (gateway_pb2.ListTasksRequest(filter=task_pb2.TaskFilter(states=[0])), "filter.states"),
        (gateway_pb2.WatchTaskRequest(name="tasks/t1", from_sequence=-1), "from_sequence"),
        (gateway_pb2.WatchTaskRequest(name="tasks/t1", from_sequence=3), "from_sequence"),
    ],
)
async def test_a_bad_field_is_named(stub, dispatcher, request_message, field):
    dispatcher.add_task("tasks/t1")
    method = getattr(stub, type(request_message).__name__.removesuffix("Request"))
    call = method(request_message)
    error = await refusal_of(call.read() if isinstance(call, grpc.aio.UnaryStreamCall) else call)
    assert isinstance(error, InvalidArgument)
    assert [violation.field for violation in error.violations] == [field]


@pytest.mark.parametrize("error", [FailedPrecondition("it has ended"), NotFound("gone"), Unavailable("store away")])
async def test_what_the_dispatcher_refuses_reaches_the_caller_as_it_is(stub, dispatcher, error):
    dispatcher.add_task("tasks/t1")
    dispatcher.error = error
    met = await refusal_of(stub.CancelTask(gateway_pb2.CancelTaskRequest(name="tasks/t1")))
    assert (type(met), met.reason, met.message) == (type(error), error.reason, error.message)


async def test_what_breaks_in_the_dispatcher_shows_nothing_of_its_inside(stub, dispatcher):
    dispatcher.error = RuntimeError("redis://secret")
    met = await refusal_of(stub.GetTask(gateway_pb2.GetTaskRequest(name="tasks/t1")))
    assert met.code is grpc.StatusCode.INTERNAL
    assert "secret" not in met.message


async def test_given_the_dispatcher_is_away_when_it_is_back_in_time_then_the_call_succeeds(stub, dispatcher):
    dispatcher.add_task("tasks/t1")
    await dispatcher.kill()
    reading = asyncio.ensure_future(stub.GetTask(gateway_pb2.GetTaskRequest(name="tasks/t1")))
    submitting = asyncio.ensure_future(stub.SubmitTask(goal()))
    await asyncio.sleep(0.3)
    await dispatcher.start()
    assert (await reading).task.name == "tasks/t1"
    assert (await submitting).task.name


async def test_given_the_dispatcher_stays_away_then_unavailable_before_the_callers_deadline(stub, dispatcher):
    await dispatcher.kill()
    reading = stub.GetTask(gateway_pb2.GetTaskRequest(name="tasks/t1"), timeout=1)
    submitting = stub.SubmitTask(goal(), timeout=1)
    for call in (reading, submitting):
        assert isinstance(await refusal_of(call), Unavailable)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_trace_of_the_caller_travels_with_the_submission(stub, dispatcher):
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await stub.SubmitTask(goal(), metadata=(("traceparent", traceparent),))
    assert dispatcher.groups[0][0].traceparent.split("-")[1] == traceparent.split("-")[1]


async def test_reflection_describes_the_service_and_health_follows_the_dispatcher(gateway, dispatcher, eventually):
    async with connect(f"127.0.0.1:{gateway.server.grpc_port}") as channel:
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="waybill.api.v1.GatewayService")
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
        answer = await call.read()
        file = FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])
        assert file.service[0].name == "GatewayService"

        stub = health_pb2_grpc.HealthStub(channel)
        watching = stub.Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        dispatcher.ready = False
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        alive = await stub.Check(health_pb2.HealthCheckRequest(service="liveness"))
        assert alive.status == health_pb2.HealthCheckResponse.SERVING
        watching.cancel()
