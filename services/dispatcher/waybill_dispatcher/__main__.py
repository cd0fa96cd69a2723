"""The dispatcher process: wiring only."""

from __future__ import annotations

import asyncio
from typing import cast

from waybill.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc, planner_pb2_grpc
from waybill.cancellation import cancel_all
from waybill.errors import WaybillError
from waybill.ledger.bells import Bells
from waybill.ledger.ledger import Ledger
from waybill.rpc.channel import connect
from waybill.rpc.server import ServiceServer, run
from waybill_dispatcher.accept import Acceptance
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.history import History
from waybill_dispatcher.planning import Planning
from waybill_dispatcher.servicer import DispatcherServicer
from waybill_dispatcher.settings import DispatcherSettings
from waybill_dispatcher.ticking import tick_until_cancelled

SERVICE = "dispatcher"


async def serve(settings: DispatcherSettings) -> None:
    """Run the dispatcher until it is told to stop."""
    ledger, bells = Ledger(settings.redis_url), Bells(settings.redis_url)
    directory = AgentDirectory(ledger)

    async def ready() -> bool:
        try:
            await ledger.ping()
        except WaybillError:
            return False
        return True

    server = ServiceServer(SERVICE, settings, ready=ready)
    servicer = DispatcherServicer(ledger, Acceptance(ledger, directory), History(ledger, bells, directory), directory)
    dispatcher_pb2_grpc.add_DispatcherServiceServicer_to_server(servicer, server.grpc)
    async with connect(settings.planner_address) as channel:
        planning = Planning(
            ledger,
            bells,
            directory,
            cast("planner_pb2_grpc.PlannerServiceAsyncStub", planner_pb2_grpc.PlannerServiceStub(channel)),
            concurrency=settings.planning_concurrency,
            timeout_seconds=settings.planning_timeout_seconds,
        )
        jobs = [
            asyncio.create_task(bells.run()),
            asyncio.create_task(planning.run()),
            asyncio.create_task(tick_until_cancelled(ledger, settings.policy())),
        ]
        try:
            await server.start([dispatcher_pb2.DESCRIPTOR.services_by_name["DispatcherService"].full_name])
            await server.run_until_stopped()
        finally:
            await cancel_all(jobs)
            await ledger.close()
            await bells.close()


if __name__ == "__main__":
    settings = DispatcherSettings()
    run(lambda: serve(settings), SERVICE, settings)
