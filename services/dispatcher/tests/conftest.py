"""A dispatcher in this process over a real store, with a planner whose answers the test chooses, and real databases."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis.asyncio

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "ledger"))

from databases import Database, database_kinds, running_database
from planner_talks import PlannerGone
from waybill_dispatcher.__main__ import serve
from waybill_dispatcher.settings import DispatcherSettings
from waybill_planner.templates import Templates

from waybill.api.v1 import dispatcher_pb2, dispatcher_pb2_grpc, planner_pb2, planner_pb2_grpc, task_pb2
from waybill.cancellation import cancel_all
from waybill.errors import InvalidPlan, WaybillError
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentOffer, Grant, Outcome, Settlement, WorkerOffer
from waybill.rpc.status import to_grpc_status

ANY_OBJECT = '{"type":"object"}'
ONE_STEP = task_pb2.Plan(steps=[task_pb2.PlanStep(name="only", agent="echo")])

Answer = Callable[[planner_pb2.StreamPlanRequest], Awaitable[task_pb2.Plan]]
Talk = Callable[[Any], AsyncIterator[dict[str, Any]]]
Settle = Callable[[Grant], Settlement]


async def plan_one_step(request: planner_pb2.StreamPlanRequest) -> task_pb2.Plan:
    """The answer of a planner that has nothing against any goal."""
    return ONE_STEP


@dataclass
class ChosenPlanner(planner_pb2_grpc.PlannerServiceServicer):
    """Answers as the test says, and keeps what it was asked. With a `model`, `talk` gives the contents of the messages
    of a stream that may call it.
    """

    answer: Answer = plan_one_step
    model: planner_pb2.GetPlannerModelResponse = field(default_factory=planner_pb2.GetPlannerModelResponse)
    talk: Talk | None = None
    asked: list[planner_pb2.StreamPlanRequest] = field(default_factory=list)
    revisions: list[planner_pb2.RevisePlanRequest] = field(default_factory=list)
    templates: Templates = field(default_factory=lambda: Templates(None))
    expansions: list[planner_pb2.ExpandTemplateRequest] = field(default_factory=list)
    is_gone: bool = False
    is_stuck: bool = False

    async def GetPlannerModel(self, request: Any, context: Any) -> Any:
        return self.model

    async def DescribeTemplates(self, request: Any, context: Any) -> Any:
        return await self._of_templates(self.templates.describe, request, context)

    async def ExpandTemplate(self, request: Any, context: Any) -> Any:
        self.expansions.append(request)
        return await self._of_templates(self.templates.expand, request, context)

    async def _of_templates(self, answer: Callable[[Any], Any], request: Any, context: Any) -> Any:
        if self.is_stuck:
            await asyncio.Event().wait()
        if self.is_gone:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "")
        try:
            return answer(request)
        except WaybillError as error:
            await context.abort_with_status(to_grpc_status(error))

    async def StreamPlan(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        try:
            if self.talk is not None and request.max_cost_microusd > 0:
                async for content in self.talk(request):
                    yield planner_pb2.StreamPlanResponse(**content)
            else:
                yield planner_pb2.StreamPlanResponse(plan=await self.answer(request))
        except InvalidPlan as error:
            await context.abort_with_status(to_grpc_status(error))
        except PlannerGone:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "")

    async def RevisePlan(self, request: Any, context: Any) -> Any:
        self.revisions.append(request)
        assert self.talk is not None
        try:
            async for content in self.talk(request):
                yield planner_pb2.RevisePlanResponse(**content)
        except PlannerGone:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "")


@dataclass
class Suite:
    """What a test of the dispatcher touches."""

    stub: Any
    ledger: Ledger
    planner: ChosenPlanner
    store: redis.asyncio.Redis
    seq: int = 0

    async def call(self, rpc: str, *, tenant: str = "default", **fields: Any) -> Any:
        """The response of one call."""
        request = getattr(dispatcher_pb2, f"{rpc}Request")(**fields)
        return await getattr(self.stub, rpc)(request, metadata=(("x-waybill-tenant", tenant),))

    async def refused(self, rpc: str, **fields: Any) -> tuple[grpc.StatusCode, str]:
        """Code and message of a call that must be refused."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(rpc, **fields)
        return caught.value.code(), caught.value.details() or ""

    async def submit(self, *, tenant: str = "default", request_id: str = "r1", **spec: Any) -> Any:
        """The one result of one submission."""
        submission = dispatcher_pb2.Submission(tenant=tenant, request_id=request_id, spec=task_pb2.TaskSpec(**spec))
        response = await self.stub.CreateTasks(dispatcher_pb2.CreateTasksRequest(submissions=[submission]))
        return response.results[0]

    async def task(self, name: str, **fields: Any) -> Any:
        """A task as a caller reads it."""
        return (await self.call("ReadTask", name=name, **fields)).task

    async def until(self, name: str, reached: Callable[[Any], object], **fields: Any) -> Any:
        """A task once something holds of it."""
        async with asyncio.timeout(30):
            while not reached(task := await self.task(name, **fields)):
                await asyncio.sleep(0.02)
        return task

    async def announce(self, *agents: str) -> None:
        """A live worker that serves these agents."""
        offers = tuple(AgentOffer(agent, "", ANY_OBJECT, "", 8) for agent in agents)
        await self.ledger.register(WorkerOffer("hand.1", "hand", "127.0.0.1:1", 8, offers))

    async def run_steps(self, agents: list[str], output: bytes = b'{"done":true}', settle: Settle | None = None) -> int:
        """Runs what is queued, as a worker would; how many steps that were."""
        settlements: list[Settlement] = []
        count = 0
        while True:
            self.seq += 1
            exchange = await self.ledger.exchange("hand.1", self.seq, self.seq - 1, settlements, [], agents, 8)
            settlements = [
                settle(grant) if settle else Settlement(grant.ref, Outcome.SUCCEEDED, output, run_ms=3)
                for grant in exchange.grants
            ]
            count += len(settlements)
            if not settlements:
                return count

    async def events(self, name: str, first: int = 1, tenant: str = "default", after_digest: int = 0) -> list[Any]:
        """All events up to the end of the stream."""
        call = self.stub.StreamEvents(
            dispatcher_pb2.StreamEventsRequest(name=name, from_sequence=first, after_digest=after_digest),
            metadata=(("x-waybill-tenant", tenant),),
        )
        return [event async for message in call for event in message.events]


StartSuite = Callable[..., Awaitable[Suite]]


@asynccontextmanager
async def running_suite(url: str, grpc_port: int, **settings: Any) -> AsyncIterator[Suite]:
    """A running dispatcher over the store at this URL."""
    planner = ChosenPlanner()
    planner_server = grpc.aio.server()
    planner_pb2_grpc.add_PlannerServiceServicer_to_server(planner, planner_server)
    planner_port = planner_server.add_insecure_port("127.0.0.1:0")
    await planner_server.start()
    serving = asyncio.create_task(
        serve(
            DispatcherSettings(
                grpc_port=grpc_port,
                metrics_port=0,
                planner_address=f"127.0.0.1:{planner_port}",
                shutdown_grace_seconds=0,
                **settings,
            )
        )
    )
    ledger = Ledger(url)
    await ledger.connect()
    store = redis.asyncio.Redis.from_url(url)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
        yield Suite(dispatcher_pb2_grpc.DispatcherServiceStub(channel), ledger, planner, store)
    await cancel_all([serving])
    await store.aclose()
    await ledger.close()
    await planner_server.stop(0)


@pytest.fixture
async def start_suite(
    embedded_url: str, unused_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartSuite]:
    """Starts dispatchers over one store, each with the settings that it is given."""
    monkeypatch.setenv("WAYBILL_REDIS_URL", embedded_url)
    async with AsyncExitStack() as running:

        async def start(**settings: Any) -> Suite:
            return await running.enter_async_context(running_suite(embedded_url, unused_port(), **settings))

        yield start


@pytest.fixture
async def suite(start_suite: StartSuite) -> Suite:
    """A running dispatcher."""
    return await start_suite()


@pytest.fixture(scope="session", params=database_kinds())
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A server of databases, once for each kind."""
    with running_database(request.param) as running:
        yield running


@pytest.fixture
def archive_url(database: Database, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return database.empty(tmp_path)
