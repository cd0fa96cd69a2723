"""A process full of callers, each with one SubmitTask call at a time: `python callers.py ADDRESS CALLERS LABEL`.

Bytes in and out, without any of the client's comforts, so that the server is what is measured. Prints `ready` when it
is connected, then for each line of stdin, a number of calls, when the first began and the last ended, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable

import grpc
import uvloop

from waybill.api.v1 import gateway_pb2
from waybill.resources import Submission

PLAN = {"steps": [{"name": "only", "agent": "noop", "input": {}}]}
CONNECT_SECONDS = 30.0
LABEL = "callers"


def spec_of(label: str) -> bytes:
    """A request without its id, serialised; the id is a field that can be appended."""
    return gateway_pb2.SubmitTaskRequest(spec=Submission(plan=PLAN, labels={LABEL: label}).spec()).SerializeToString()


async def call_all(
    submit: Callable[[bytes], Awaitable[bytes]], label: str, callers: int, calls: int
) -> dict[str, float]:
    """Make so many calls; when the first began and the last ended, on the clock that all processes share."""
    spec, numbers, own = spec_of(label), iter(range(calls)), uuid.uuid4().hex

    async def caller() -> None:
        for number in numbers:
            request_id = gateway_pb2.SubmitTaskRequest(request_id=f"{own}-{number}").SerializeToString()
            await submit(spec + request_id)

    began = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return {"began": began, "ended": time.monotonic()}


async def main() -> None:
    """Call when told to, until stdin ends."""
    address, callers, label = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    service = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), CONNECT_SECONDS)
        submit = channel.unary_unary(f"/{service}/SubmitTask")
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await call_all(submit, label, callers, int(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
