"""Live workers, by the ledger's account and their own."""

from __future__ import annotations

import asyncio
from typing import cast

import grpc

from waybill.api.v1 import dispatcher_pb2, worker_pb2, worker_pb2_grpc
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import WorkerRecord
from waybill.rpc.caller import trace_metadata
from waybill.rpc.channel import connect

_ANSWER_SECONDS = 1.0


async def read_workers(ledger: Ledger) -> list[dispatcher_pb2.Worker]:
    """Live workers by id, each asked for its status; one that does not answer in a second has running = -1."""
    return list(await asyncio.gather(*(_asked(record) for record in await ledger.workers())))


async def _asked(record: WorkerRecord) -> dispatcher_pb2.Worker:
    worker = dispatcher_pb2.Worker(
        worker=record.id, agents=record.agents, address=record.address, slots=record.slots, running=-1
    )
    async with connect(record.address) as channel:
        stub = cast("worker_pb2_grpc.WorkerServiceAsyncStub", worker_pb2_grpc.WorkerServiceStub(channel))
        try:
            status = await stub.GetWorkerStatus(
                worker_pb2.GetWorkerStatusRequest(), timeout=_ANSWER_SECONDS, metadata=trace_metadata()
            )
        except grpc.aio.AioRpcError:
            return worker
    # The address may have passed to another process since: then this worker did not answer.
    if status.worker == record.id:
        worker.running, worker.draining = status.running, status.draining
    return worker
