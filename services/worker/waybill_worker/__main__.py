"""The worker process: wiring only."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

from waybill.agent import load_agents
from waybill.api.v1 import worker_pb2_grpc
from waybill.ledger.ledger import Ledger
from waybill.models import config
from waybill.models.client import ModelClient
from waybill.rpc.server import ServiceServer, run
from waybill_worker import ending, frames
from waybill_worker.agents.http_settings import HttpSettings
from waybill_worker.agents.tools_config import ToolServers
from waybill_worker.loading import agent_modules
from waybill_worker.pool import ProcessPool
from waybill_worker.servicer import SERVICE_NAME, WorkerServicer
from waybill_worker.settings import WorkerSettings
from waybill_worker.worker import Worker, drain_within

SERVICE = "worker"


async def serve(settings: WorkerSettings) -> None:
    """Run the worker until it is told to stop."""
    loop = asyncio.get_running_loop()
    threads = ending.make_threads(loop, settings.slots)
    modules = agent_modules(settings.agents, entry_points=settings.entry_points)
    agents = load_agents(modules, entry_points=False)
    if not agents:
        raise ValueError("no agents to run: name modules in WAYBILL_WORKER_AGENTS")
    # Each step of the agents `tools` and `http` reads these anew: this tells of faults at the start.
    ToolServers.from_environment()
    HttpSettings()
    models = _models()
    ledger = Ledger(settings.redis_url)
    pool = ProcessPool(frames.Setup(modules, tuple(sys.path), settings.log_level))
    worker = Worker(
        ledger,
        agents,
        pool,
        name=settings.name,
        slots=settings.slots,
        models=models,
        open_ledger=lambda: Ledger(settings.redis_url),
        stuck_seconds=settings.stuck_seconds,
    )
    gc.collect()
    gc.freeze()  # what is there now stays: to look through all of it again and again would be for nothing
    server = ServiceServer(SERVICE, settings, ready=worker.ready, alive=lambda: worker.alive(settings.stuck_seconds))
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerServicer(worker), server.grpc)
    try:
        await server.start([SERVICE_NAME])
        await _work_until_stopped(server, worker, settings.address(server.grpc_port))
    finally:
        await pool.close()
        if models is not None:
            await models.close()
        await ledger.close()
        await ending.end(threads)


async def _work_until_stopped(server: ServiceServer, worker: Worker, address: str) -> None:
    running = asyncio.create_task(worker.run(address))
    running.add_done_callback(lambda task: server.request_stop() if _failed(task) else None)
    serving = asyncio.create_task(server.run_until_stopped())
    await server.stopping.wait()
    await drain_within(worker, running, server.settings.shutdown_grace_seconds)
    await serving
    if _failed(running):
        await running


def _models() -> ModelClient | None:
    configured = config.load()
    return ModelClient(configured) if configured is not None else None


def _failed(task: asyncio.Task[None]) -> bool:
    return not task.cancelled() and task.exception() is not None


def main() -> None:
    """Start the worker as its environment says."""
    settings = WorkerSettings()
    # What agents print must not end up in the output of whoever started the worker.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    run(lambda: serve(settings), SERVICE, settings)


if __name__ == "__main__":
    main()
