"""A dispatcher in this process over a real store, with a planner whose answers the test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from waybill_dispatcher.__main__ import serve
from waybill_dispatcher.settings import DispatcherSettings

from waybill.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc, planner_pb2, planner_pb2_grpc, task_pb2
from waybill.cancellation import cancel_all
from waybill.errors import InvalidPlan
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentOffer, Outcome, Settlement, WorkerOffer
from waybill.rpc.status import to_grpc_status

ANY_OBJECT = '{"type":"object"}'
ONE_STEP = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])

Answer = Callable[[planner_pb2.CreatePlanRequest], Awaitable[task_pb2.Plan]]


async def plan_one_step(request: planner_pb2.CreatePlanRequest) -> task_pb2.Plan:
    """The answer of a planner that has nothing against any goal."""
    return ONE_STEP


@dataclass
class ChosenPlanner(planner_pb2_grpc.PlannerServiceServicer):
    """Answers as the test says, and keeps what it was asked."""

    answer: Answer = plan_one_step
    asked: list[planner_pb2.CreatePlanRequest] = field(default_factory=list)

    async def CreatePlan(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        try:
            return planner_pb2.CreatePlanResponse(plan=await self.answer(request))
        except InvalidPlan as error:
            await context.abort_with_status(to_grpc_status(error))


@dataclass
class Suite:
    """What a test of the dispatcher touches."""

    stub: Any
    ledger: Ledger
    planner: ChosenPlanner
    seq: int = 0

    async def submit(self, *, tenant: str = "default", request_id: str = "r1", **spec: Any) -> Any:
        """The one result of one submission."""
        submission = dispatcher_pb2.Submission(tenant=tenant, request_id=request_id, spec=task_pb2.TaskSpec(**spec))
        response = await self.stub.CreateTasks(dispatcher_pb2.CreateTasksRequest(submissions=[submission]))
        return response.results[0]

    async def announce(self, *agents: str) -> None:
        """A live worker that serves these agents."""
        offers = tuple(AgentOffer(agent, "", ANY_OBJECT, "", 8) for agent in agents)
        await self.ledger.register(WorkerOffer("hand.1", "hand", "127.0.0.1:1", 8, offers))

    async def run_steps(self, agents: list[str], output: bytes = b'{"done":true}') -> int:
        """Runs what is queued, as a worker would; how many steps that were."""
        settlements: list[Settlement] = []
        count = 0
        while True:
            self.seq += 1
            exchange = await self.ledger.exchange("hand.1", self.seq, self.seq - 1, settlements, [], agents, 8)
            settlements = [Settlement(grant.ref, Outcome.SUCCEEDED, output, run_ms=3) for grant in exchange.grants]
            count += len(settlements)
            if not settlements:
                return count

    async def events(self, name: str, first: int = 1, tenant: str = "default") -> list[Any]:
        """All events up to the terminal one."""
        call = self.stub.StreamEvents(
            dispatcher_pb2.StreamEventsRequest(name=name, from_sequence=first),
            metadata=(("x-waybill-tenant", tenant),),
        )
        return [event async for message in call for event in message.events]


@pytest.fixture
async def suite(
    embedded_url: str, unused_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Suite]:
    """A running dispatcher."""
    planner = ChosenPlanner()
    planner_server = grpc.aio.server()
    planner_pb2_grpc.add_PlannerServiceServicer_to_server(planner, planner_server)
    planner_port = planner_server.add_insecure_port("127.0.0.1:0")
    await planner_server.start()
    monkeypatch.setenv("WAYBILL_REDIS_URL", embedded_url)
    settings = DispatcherSettings(
        grpc_port=unused_port(), metrics_port=0, planner_address=f"127.0.0.1:{planner_port}", shutdown_grace_seconds=0
    )
    serving = asyncio.create_task(serve(settings))
    ledger = Ledger(embedded_url)
    await ledger.connect()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.grpc_port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
        yield Suite(dispatcher_pb2_grpc.DispatcherServiceStub(channel), ledger, planner)
    await cancel_all([serving])
    await ledger.close()
    await planner_server.stop(0)
