"""Schedules over gRPC and HTTP: what is refused at the edge, and what is handed on."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import dispatcher_pb2, gateway_pb2, task_pb2

SPEC = {"goal": "why?", "labels": {"team": "crm"}}
BODY = {"id": "nightly", "spec": SPEC, "cron": "0 3 * * *"}


async def refused_fields(http: Any, body: dict[str, Any], path: str = "", method: str = "POST") -> list[str]:
    response = await http.request(method, f"/v1/schedules{path}", json=body)
    assert response.status_code == 400, response.text
    return [violation["field"] for violation in response.json()["violations"]]


async def test_given_a_schedule_when_created_over_http_then_the_dispatcher_gets_all_of_it(http, dispatcher):
    body = {
        **BODY,
        "time_zone": "Europe/Berlin",
        "overlap_policy": "queue",
        "catch_up_policy": "all",
        "catch_up_window_ms": 60_000,
        "begin_time": "2026-11-24T10:00:00+01:00",
        "end_time": "2027-11-24T09:30:00.5Z",
        "paused": True,
    }
    response = await http.post("/v1/schedules", json=body, headers={"idempotency-key": "k1"})
    (seen,) = dispatcher.requests_seen
    assert seen == dispatcher_pb2.WriteScheduleRequest(
        schedule=task_pb2.Schedule(
            name="schedules/nightly",
            spec=task_pb2.TaskSpec(goal="why?", labels={"team": "crm"}, priority=task_pb2.PRIORITY_NORMAL),
            cron="0 3 * * *",
            time_zone="Europe/Berlin",
            overlap_policy=task_pb2.OVERLAP_POLICY_QUEUE,
            catch_up_policy=task_pb2.CATCH_UP_POLICY_ALL,
            catch_up_window_ms=60_000,
            begin_time=Timestamp(seconds=1795510800),
            end_time=Timestamp(seconds=1827048600, nanos=500_000_000),
            paused=True,
        ),
        request_id="k1",
    )
    shown = response.json()
    assert shown["spec"] == SPEC
    assert {name: shown[name] for name in body if name not in ("id", "spec", "begin_time")} == {
        **{name: value for name, value in body.items() if name not in ("id", "spec", "begin_time")},
        "end_time": "2027-11-24T09:30:00.500Z",
    }


async def test_given_a_schedule_when_replaced_then_its_name_is_that_of_the_path(http, dispatcher):
    response = await http.put("/v1/schedules/nightly", json={"spec": SPEC, "interval_ms": 5_000, "request_id": "r"})
    assert response.json()["interval_ms"] == 5_000
    (seen,) = dispatcher.requests_seen
    assert (seen.schedule.name, seen.replace, seen.request_id) == ("schedules/nightly", True, "r")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "Nightly"}, "name"),
        ({"id": "a" * 65}, "name"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": ""}, "cron"),
        ({"interval_ms": 5_000}, "cron"),
        ({"interval_ms": "5"}, "interval_ms"),
        ({"time_zone": "Mars/Base"}, "time_zone"),
        ({"overlap_policy": "all"}, "overlap_policy"),
        ({"catch_up_window_ms": 5}, "catch_up_window_ms"),
        ({"begin_time": "2026-11-24T10:00:00"}, "begin_time"),
        ({"end_time": "0001-01-01T00:00:00+14:00"}, "end_time"),
        ({"spec": {}}, "spec.goal"),
        ({"spec": {"goal": "why?", "priority": "soon"}}, "spec.priority"),
        ({"spec": {"goal": "why?", "labels": {"waybill.schedule": "mine"}}}, "spec.labels.waybill.schedule"),
        ({"spec": {"goal": "why?", "start_time": "2026-11-24T10:00:00Z"}}, "spec.start_time"),
        ({"spec": {"goal": "why?", "request_id": "r"}}, "spec.request_id"),
        ({"next_time": "2026-11-24T10:00:00Z"}, "next_time"),
        ({"request_id": "has space"}, "request_id"),
    ],
)
async def test_given_a_bad_field_when_created_then_it_is_named_and_nothing_is_handed_on(
    http, dispatcher, change, field
):
    assert await refused_fields(http, {**BODY, **change}) == [field]
    assert dispatcher.requests_seen == []


async def test_given_a_body_without_a_spec_or_with_a_pause_when_replaced_then_it_is_refused(http):
    assert await refused_fields(http, {"cron": "0 3 * * *"}, "/nightly", "PUT") == ["spec"]
    assert await refused_fields(http, {"spec": SPEC, "paused": True}, "/nightly", "PUT") == ["paused"]


async def test_given_wrong_steps_when_created_then_the_dispatcher_lists_them_with_all_others(stub, dispatcher):
    """Only it knows what is wrong between steps."""
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name="UPPER", agent="echo")])
    schedule = task_pb2.Schedule(name="schedules/a", cron="0 3 * * *", spec=task_pb2.TaskSpec(plan=plan))
    await stub.CreateSchedule(gateway_pb2.CreateScheduleRequest(schedule=schedule))
    assert len(dispatcher.requests_seen) == 1


async def test_given_a_schedule_when_read_then_its_firings_are_shown(http, dispatcher):
    shown = (await http.get("/v1/schedules/nightly")).json()
    assert (shown["name"], shown["cron"], shown["paused"]) == ("schedules/nightly", "0 3 * * *", False)
    assert [firing["outcome"] for firing in shown["firings"]] == ["submitted", "failed"]
    assert shown["firings"][0]["task"] == "tasks/t1"
    assert shown["firings"][1]["failure"]["reason"] == "PLAN_INVALID"
    assert (await http.get("/v1/schedules/No")).status_code == 404


async def test_given_schedules_when_listed_then_pages_are_handed_on(http, dispatcher):
    shown = (await http.get("/v1/schedules", params={"page_size": 5, "page_token": "x"})).json()
    assert ([found["name"] for found in shown["schedules"]], shown["next_page_token"]) == (
        ["schedules/nightly"],
        "more",
    )
    (seen,) = dispatcher.requests_seen
    assert (seen.page_size, seen.page_token) == (5, "x")
    assert (await http.get("/v1/schedules", params={"page_size": 1001})).status_code == 400


async def test_given_a_schedule_when_steered_over_http_then_the_action_and_the_request_are_handed_on(http, dispatcher):
    paused = await http.post("/v1/schedules/nightly:pause", json={"request_id": "p"})
    resumed = await http.post("/v1/schedules/nightly:resume", headers={"idempotency-key": "r"})
    task = await http.post("/v1/schedules/nightly:trigger")
    deleted = await http.delete("/v1/schedules/nightly", headers={"idempotency-key": "d"})
    assert (paused.json()["paused"], resumed.json()["paused"]) == (True, False)
    assert (task.json()["name"], deleted.json()) == ("tasks/t1", {})
    seen = [(request.name, request.action, request.request_id) for request in dispatcher.requests_seen]
    assert [(action, request_id) for _, action, request_id in seen if request_id in "prd"] == [
        (dispatcher_pb2.SCHEDULE_ACTION_PAUSE, "p"),
        (dispatcher_pb2.SCHEDULE_ACTION_RESUME, "r"),
        (dispatcher_pb2.SCHEDULE_ACTION_DELETE, "d"),
    ]
    assert seen[2][1] == dispatcher_pb2.SCHEDULE_ACTION_TRIGGER
    assert len(seen[2][2]) == 32
    assert {name for name, _, _ in seen} == {"schedules/nightly"}


async def test_given_grpc_when_all_verbs_are_called_then_each_reaches_the_dispatcher(stub, dispatcher):
    schedule = task_pb2.Schedule(name="schedules/a", interval_ms=5_000, spec=task_pb2.TaskSpec(goal="why?"))
    name = "schedules/a"
    assert (await stub.CreateSchedule(gateway_pb2.CreateScheduleRequest(schedule=schedule))).schedule == schedule
    assert (await stub.UpdateSchedule(gateway_pb2.UpdateScheduleRequest(schedule=schedule))).schedule == schedule
    assert (await stub.GetSchedule(gateway_pb2.GetScheduleRequest(name=name))).schedule.name == name
    assert (await stub.ListSchedules(gateway_pb2.ListSchedulesRequest())).next_page_token == "more"
    assert (await stub.PauseSchedule(gateway_pb2.PauseScheduleRequest(name=name))).schedule.paused
    assert not (await stub.ResumeSchedule(gateway_pb2.ResumeScheduleRequest(name=name))).schedule.paused
    assert (await stub.TriggerSchedule(gateway_pb2.TriggerScheduleRequest(name=name))).task.name == "tasks/t1"
    await stub.DeleteSchedule(gateway_pb2.DeleteScheduleRequest(name=name))
    assert len(dispatcher.requests_seen) == 8
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetSchedule(gateway_pb2.GetScheduleRequest(name="tasks/a"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_given_a_reserved_label_when_a_task_is_submitted_then_it_is_refused(http):
    response = await http.post("/v1/tasks", json={"goal": "why?", "labels": {"waybill.schedule": "x"}})
    assert [violation["field"] for violation in response.json()["violations"]] == ["labels.waybill.schedule"]
