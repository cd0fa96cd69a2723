"""The planner's templates: read for callers, and made into plans where tasks are submitted by them."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from waybill.api.v1 import planner_pb2, planner_pb2_grpc, task_pb2
from waybill.errors import Unavailable, WaybillError
from waybill.rpc.caller import metadata_for
from waybill.rpc.status import from_rpc_error

PLANNER_UNAVAILABLE = "PLANNER_UNAVAILABLE"
PLANNER_TOO_OLD = "PLANNER_TOO_OLD"


class Templates:
    """Asks the planner, once a call and no longer than `timeout_seconds`. Callers may repeat what was Unavailable."""

    def __init__(self, planner: planner_pb2_grpc.PlannerServiceAsyncStub, *, timeout_seconds: float) -> None:
        self._planner = planner
        self._timeout_seconds = timeout_seconds

    async def read(self, tenant: str, name: str = "") -> Sequence[task_pb2.Template]:
        """All templates by name, or the one named with its plan. Raises NotFound or Unavailable."""
        try:
            described: planner_pb2.DescribeTemplatesResponse = await self._planner.DescribeTemplates(
                planner_pb2.DescribeTemplatesRequest(name=name),
                timeout=self._timeout_seconds,
                metadata=metadata_for(tenant),
            )
        except grpc.aio.AioRpcError as error:
            raise _told(error) from error
        return described.templates

    async def expand(self, tenant: str, spec: task_pb2.TaskSpec) -> task_pb2.Plan:
        """The plan that a spec's template makes of its parameters. Raises NotFound, InvalidArgument or Unavailable."""
        try:
            made: planner_pb2.ExpandTemplateResponse = await self._planner.ExpandTemplate(
                planner_pb2.ExpandTemplateRequest(template=spec.template, parameters=spec.parameters),
                timeout=self._timeout_seconds,
                metadata=metadata_for(tenant),
            )
        except grpc.aio.AioRpcError as error:
            raise _told(error) from error
        return made.plan


def _told(error: grpc.aio.AioRpcError) -> WaybillError:
    """The planner's own answer; whatever else keeps it from answering, the caller may try again."""
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Unavailable("the planner is of an older release, without templates; replace it", reason=PLANNER_TOO_OLD)
    told = from_rpc_error(error)
    if isinstance(told, Unavailable):
        return Unavailable("the planner, which keeps the templates, does not answer", reason=PLANNER_UNAVAILABLE)
    return told
