"""WorkerService: a look at one worker, and the way to drain it."""

from __future__ import annotations

import grpc

from waybill.api.v1 import worker_pb2, worker_pb2_grpc
from waybill_worker.worker import Worker

SERVICE_NAME = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """Answers from the worker's memory; touches no store."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def GetWorkerStatus(
        self,
        request: worker_pb2.GetWorkerStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> worker_pb2.GetWorkerStatusResponse:
        """What the worker does now."""
        status = self._worker.status
        return worker_pb2.GetWorkerStatusResponse(
            worker=status.worker,
            agents=status.agents,
            slots=status.slots,
            running=status.running,
            draining=status.draining,
        )

    async def DrainWorker(
        self,
        request: worker_pb2.DrainWorkerRequest,
        context: grpc.aio.ServicerContext,
    ) -> worker_pb2.DrainWorkerResponse:
        """Stop taking steps; the process stays and answers until it is told to end."""
        self._worker.drain()
        return worker_pb2.DrainWorkerResponse(running=self._worker.status.running)
