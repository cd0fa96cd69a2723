"""`python -m waybill_planner`: the planner's process."""

from __future__ import annotations

from waybill.api.v1 import planner_pb2_grpc
from waybill.models.client import ModelClient
from waybill.models.config import load
from waybill.rpc.server import ServiceServer, run
from waybill_planner.author import Author
from waybill_planner.servicer import SERVICE_NAME, PlannerServicer
from waybill_planner.settings import PlannerSettings
from waybill_planner.templates import Templates


async def _ready() -> bool:
    """Always: the planner depends on nothing."""
    return True


def _author() -> Author | None:
    """Who writes plans with a model, if one is configured. Raises ValueError for a configuration that will not do."""
    models = load()
    return Author(ModelClient(models)) if models is not None else None


async def planner_server(settings: PlannerSettings) -> ServiceServer:
    """The planner's servers, started. Raises OSError if a port is taken."""
    server = ServiceServer("planner", settings, ready=_ready)
    servicer = PlannerServicer(_author(), settings.max_cost_microusd, Templates(settings.templates))
    planner_pb2_grpc.add_PlannerServiceServicer_to_server(servicer, server.grpc)
    await server.start([SERVICE_NAME])
    return server


async def serve(settings: PlannerSettings) -> None:
    """Serve until the process is asked to stop."""
    server = await planner_server(settings)
    await server.run_until_stopped()


def main() -> None:
    """Run the process with the settings of its environment."""
    settings = PlannerSettings()
    run(lambda: serve(settings), "planner", settings)


if __name__ == "__main__":
    main()
