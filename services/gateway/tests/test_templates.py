"""Templates through both faces of the gateway, and submissions that are made from them."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from waybill_gateway.submission import admitted_request_id

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2
from waybill.errors import InvalidArgument

GREET = task_pb2.Template(
    name="templates/greet",
    description="Greets somebody.",
    parameters_schema='{"type":"object","properties":{"who":{"type":"string"}}}',
    plan='{"steps":[{"name":"only","agent":"echo"}]}',
)


async def test_templates_are_listed_and_read_over_grpc_and_http(dispatcher, stub, http) -> None:
    dispatcher.templates = [GREET]
    listed = await stub.ListTemplates(gateway_pb2.ListTemplatesRequest())
    assert list(listed.templates) == [GREET]
    read = await stub.GetTemplate(gateway_pb2.GetTemplateRequest(name="templates/greet"))
    assert read.template == GREET
    shown = {
        "name": "templates/greet",
        "description": "Greets somebody.",
        "parameters_schema": json.loads(GREET.parameters_schema),
        "plan": json.loads(GREET.plan),
    }
    assert (await http.get("/v1/templates")).json() == {"templates": [shown]}
    assert (await http.get("/v1/templates/greet")).json() == shown


@pytest.mark.parametrize("name", ["", "greet", "templates/"])
async def test_what_is_no_name_of_a_template_is_refused(stub, name) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetTemplate(gateway_pb2.GetTemplateRequest(name=name))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_name_that_no_template_can_have_does_not_exist(http) -> None:
    assert (await http.get("/v1/templates/Not-One")).status_code == 404
    assert (await http.get("/v1/templates", params={"x": "y"})).status_code == 400


async def test_a_template_and_its_parameters_reach_the_dispatcher(dispatcher, http) -> None:
    response = await http.post("/v1/tasks", json={"template": "greet", "parameters": {"who": "Ann"}})
    assert response.status_code == 200
    spec = dispatcher.groups[-1][0].spec
    assert (spec.template, spec.parameters.data) == ("greet", b'{"who":"Ann"}')


async def test_others_are_not_held_up_by_templates_that_wait_for_the_planner(dispatcher, stub, eventually) -> None:
    dispatcher.create_gate.clear()
    spec = task_pb2.TaskSpec(template="greet")
    waiting = asyncio.ensure_future(stub.SubmitTask(gateway_pb2.SubmitTaskRequest(spec=spec)))
    await eventually(lambda: len(dispatcher.groups) == 1)
    other = asyncio.ensure_future(stub.SubmitTask(gateway_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(goal="why?"))))
    await eventually(lambda: len(dispatcher.groups) == 2)  # while the first is still there
    dispatcher.create_gate.set()
    await asyncio.gather(waiting, other)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (task_pb2.TaskSpec(), "goal"),
        (task_pb2.TaskSpec(goal="why?", plan=task_pb2.Plan(), template="greet"), "goal"),
        (task_pb2.TaskSpec(goal="why?", template="greet", parameters=task_pb2.Payload(data=b"{}")), "parameters"),
        (task_pb2.TaskSpec(parameters=task_pb2.Payload(data=b"{}")), "parameters"),
        (task_pb2.TaskSpec(template="greet", parameters=task_pb2.Payload(data=b"{")), "parameters"),
        (task_pb2.TaskSpec(template="greet", parameters=task_pb2.Payload(data=b" " * (2**20 + 1))), "parameters"),
        (task_pb2.TaskSpec(template="Not One"), "template"),
    ],
)
def test_a_submission_that_can_never_be_made_is_refused_at_the_edge(spec, field) -> None:
    with pytest.raises(InvalidArgument) as refused:
        admitted_request_id(gateway_pb2.SubmitTaskRequest(spec=spec))
    assert field in {violation.field for violation in refused.value.violations}


def test_a_template_alone_may_pass() -> None:
    spec = task_pb2.TaskSpec(template="greet")
    assert admitted_request_id(gateway_pb2.SubmitTaskRequest(spec=spec, request_id="r")) == "r"
    assert dispatcher_pb2.Submission(spec=spec).spec.template == "greet"
