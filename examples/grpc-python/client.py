"""Submits a goal and follows the task to its result: by generated stubs alone, without Waybill's own client.

`python client.py ADDRESS GOAL [SOURCE ...]`
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc, task_pb2

TENANT = (("x-waybill-tenant", "default"),)
TRIES_IN_A_ROW = 20
PAUSE_SECONDS = 0.5
SIZES = (("grpc.max_receive_message_length", 32 << 20), ("grpc.max_send_message_length", 32 << 20))


def run(
    stub: gateway_pb2_grpc.GatewayServiceStub, request: gateway_pb2.RunTaskRequest
) -> Iterator[gateway_pb2.RunTaskResponse]:
    """The messages of a run, whatever breaks on the way; the request has a request_id.

    Repeated with the same id the call goes on with the same task, after the last event that was seen. Told by its
    digest, that is the very event, or the history begins anew.
    """
    failures = 0
    while True:
        try:
            for message in stub.RunTask(request, metadata=TENANT):
                failures = 0
                for event in message.events:
                    is_reset = event.type == task_pb2.EVENT_TYPE_STREAM_RESET
                    request.from_sequence = 0 if is_reset else event.sequence + 1
                    request.after_digest = 0 if is_reset else event.digest
                yield message
            return
        except grpc.RpcError as error:
            failures += 1
            if error.code() is not grpc.StatusCode.UNAVAILABLE or failures > TRIES_IN_A_ROW:
                raise
            time.sleep(PAUSE_SECONDS)


def main(address: str, goal: str, *sources: str) -> int:
    """Run one goal over files, and print what comes out."""
    documents = [task_pb2.Document(name=Path(path).name, data=Path(path).read_bytes()) for path in sources]
    spec = task_pb2.TaskSpec(goal=goal, documents=documents)
    task = task_pb2.Task()
    with grpc.insecure_channel(address, options=SIZES) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        for message in run(stub, gateway_pb2.RunTaskRequest(spec=spec, request_id=uuid.uuid4().hex)):
            task = message.task if message.HasField("task") else task
            for event in message.events:
                print(event.sequence, task_pb2.EventType.Name(event.type), event.step, file=sys.stderr)
    print(json.loads(task.output.data) if task.HasField("output") else task.failure.message)
    return 0 if task.state == task_pb2.TASK_STATE_SUCCEEDED else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
