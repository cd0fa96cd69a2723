"""The dispatcher process: wiring only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from waybill.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc, planner_pb2_grpc
from waybill.cancellation import cancel_all
from waybill.errors import WaybillError
from waybill.ledger.bells import Bells
from waybill.ledger.ledger import Ledger
from waybill.rpc.channel import connect
from waybill.rpc.server import ServiceServer, run
from waybill_dispatcher.deciding import Deciding
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.planner_talk import PlannerTalk
from waybill_dispatcher.planning import Planning
from waybill_dispatcher.revising import Revising
from waybill_dispatcher.scheduling import Scheduling
from waybill_dispatcher.servicer import DispatcherServicer, Parts
from waybill_dispatcher.settings import DispatcherSettings
from waybill_dispatcher.shares import SharesFile
from waybill_dispatcher.templates import Templates
from waybill_dispatcher.ticking import IDLE_TICK_MS, Ticking

if TYPE_CHECKING:
    from waybill_dispatcher.archive import Archive
    from waybill_dispatcher.archiving import Archiving

SERVICE = "dispatcher"
FRESH_SECONDS = IDLE_TICK_MS / 1000 + 0.5
"""A store that has answered so recently is not asked whether it is there."""


async def serve(settings: DispatcherSettings) -> None:
    """Run the dispatcher until it is told to stop."""
    ledger, bells = Ledger(settings.redis_url, replicas=settings.replicas()), Bells(settings.redis_url)
    directory = AgentDirectory(ledger)
    archive = _archive(settings)
    ticking = Ticking(ledger, settings.policy(), SharesFile(ledger, settings.shares_file), bells)

    async def ready() -> bool:
        if ticking.silent_seconds < FRESH_SECONDS:
            return True
        try:
            await ledger.ping()
        except WaybillError:
            return False
        return True

    server = ServiceServer(
        SERVICE, settings, ready=ready, alive=lambda: ticking.silent_seconds <= settings.stuck_seconds
    )
    async with connect(settings.planner_address) as channel:
        planner = cast("planner_pb2_grpc.PlannerServiceAsyncStub", planner_pb2_grpc.PlannerServiceStub(channel))
        templates = Templates(planner, timeout_seconds=settings.planning_timeout_seconds)
        parts = Parts.over(ledger, bells, directory, templates, archive)
        servicer = DispatcherServicer(parts)
        dispatcher_pb2_grpc.add_DispatcherServiceServicer_to_server(servicer, server.grpc)
        talk = PlannerTalk(
            ledger,
            planner,
            timeout_seconds=settings.planning_timeout_seconds,
            model_timeout_seconds=settings.planning_model_timeout_seconds,
        )
        concurrency = settings.planning_concurrency
        jobs = [
            asyncio.create_task(bells.run()),
            asyncio.create_task(Planning(ledger, bells, directory, talk, concurrency=concurrency).run()),
            asyncio.create_task(Revising(ledger, bells, directory, talk, concurrency=concurrency).run()),
            asyncio.create_task(Deciding(ledger, bells).run()),
            asyncio.create_task(Scheduling(ledger, bells, parts.firing).run()),
            asyncio.create_task(ticking.run()),
        ]
        if archive is not None:
            jobs.append(asyncio.create_task(_archiving(ledger, archive).run()))
        for job in jobs:
            job.add_done_callback(lambda _: server.request_stop())
        try:
            await server.start([dispatcher_pb2.DESCRIPTOR.services_by_name["DispatcherService"].full_name])
            await server.run_until_stopped()
            for job in jobs:
                if job.done():
                    job.result()  # it never ends by itself: whoever restarts this process has to hear of it
        finally:
            await cancel_all(jobs)
            await ledger.close()
            await bells.close()
            if archive is not None:
                archive.close()


def _archive(settings: DispatcherSettings) -> Archive | None:
    """The archive that the settings name. What talks to databases is loaded only where one is used."""
    if not settings.archive_url:
        return None
    from waybill_dispatcher.archive import Archive

    return Archive(settings.archive_url)


def _archiving(ledger: Ledger, archive: Archive) -> Archiving:
    from waybill_dispatcher.archiving import Archiving

    return Archiving(ledger, archive)


if __name__ == "__main__":
    settings = DispatcherSettings()
    run(lambda: serve(settings), SERVICE, settings)
