"""Owns what the steering commands do. Each returns its exit code and raises `waybill.errors`."""

from __future__ import annotations

import sys

from waybill.api.v1 import gateway_pb2
from waybill.cli import exits
from waybill.cli.bars import bar
from waybill.cli.gateway import client_of, json_line
from waybill.cli.lines import count_of
from waybill.cli.reading import TypedFilter, read_json, task_filter
from waybill.errors import InvalidArgument
from waybill.rpc import conversion
from waybill.steering import chosen_request_id, step_name, task_name

_REQUESTS = {
    "cancel": ("CancelTask", gateway_pb2.CancelTaskRequest),
    "pause": ("PauseTask", gateway_pb2.PauseTaskRequest),
    "resume": ("ResumeTask", gateway_pb2.ResumeTaskRequest),
    "retry": ("RetryTask", gateway_pb2.RetryTaskRequest),
}


async def steer(address: str, tenant: str, action: str, task: str, request_id: str, *, as_json: bool) -> int:
    """Cancel, pause, resume or retry a task, and print the state it is in now."""
    method, message = _REQUESTS[action]
    request = message(name=task_name(task), request_id=chosen_request_id(request_id))
    async with client_of(address, tenant) as client:
        after = (await client.call(method, request)).task
    if as_json:
        print(json_line(conversion.task_to_json(after)))
    else:
        print(f"{after.name} {conversion.TASK_STATE_FROM_PROTO[after.state].value}")
    return exits.OK


async def retry(address: str, tenant: str, task: str, typed: TypedFilter, request_id: str, *, as_json: bool) -> int:
    """Retry one task, or all that a filter admits, whose names are printed as they run again."""
    if task:
        if typed != TypedFilter():
            raise InvalidArgument.of_field("TASK", "names one task; leave it out to retry those that options name")
        return await steer(address, tenant, "retry", task, request_id, as_json=as_json)
    if not typed.states:
        raise InvalidArgument.of_field("TASK", "name a task, or give --failed or --cancelled to retry many")
    wanted = task_filter(typed)
    count = 0
    async with client_of(address, tenant) as client:
        retried = client.retry_many(
            wanted.states,
            labels=wanted.labels,
            agent=wanted.agent,
            template=wanted.template,
            created_from=wanted.created_from,
            created_until=wanted.created_until,
            request_id=request_id or None,
        )
        with bar("retrying", shown=not as_json) as another:
            async for name in retried:
                print(json_line({"name": name}) if as_json else name, flush=True)
                another(name)
                count += 1
    exits.say(f"retried {count_of(count, 'task')}")
    return exits.OK


async def answer(address: str, tenant: str, task: str, step: str, value: str, request_id: str, *, as_json: bool) -> int:
    """Answer a step, and print the state it is in now."""
    text = sys.stdin.buffer.read() if value == "-" else value.encode()
    read_json(text, "JSON")
    request = gateway_pb2.AnswerStepRequest(
        name=step_name(task, step),
        answer=conversion.json_payload(text),
        request_id=chosen_request_id(request_id),
    )
    async with client_of(address, tenant) as client:
        after = (await client.call("AnswerStep", request)).step
    if as_json:
        print(json_line(conversion.step_to_json(after)))
    else:
        print(f"{after.name} {conversion.STEP_STATE_FROM_PROTO[after.state].value}")
    return exits.OK
