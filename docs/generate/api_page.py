"""The page of the API: RPCs, HTTP routes, errors and messages."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, cast

import contracts
import waybill_gateway.http_errors as http_errors
from starlette.routing import Route
from tables import code, one_line, table
from waybill_gateway.http_app import build_app
from waybill_gateway.settings import GatewaySettings

from waybill import errors

_INTRODUCTION = """
# The API

The gateway serves one API in two forms: gRPC (`waybill.api.v1.GatewayService`, with reflection and health), and the
same over HTTP with JSON. The contracts are in `protos/waybill/api/v1`. The tenant of a call is the metadata, or header,
`x-waybill-tenant`; without it the tenant is `default`. Nothing checks who calls.
"""

_JSON = """
The JSON of HTTP and of the command line has the fields of the messages below, in snake_case. Enums are lower-case
without their prefix (`TASK_STATE_RUNNING` is `running`), payloads stand inline as JSON, times are RFC 3339 texts, and
integers are numbers. Texts, failures, payloads and times are left out until they are set.

The body of `POST /v1/tasks` has the fields of `TaskSpec`, and `request_id`. A document has `name`, `media_type`, and
either `text` or `data_base64`. `POST /v1/tasks:batch` takes `{"requests": [...]}` with such bodies. A field that is not
known is refused.

Every other `POST` takes a JSON object, or nothing where it needs nothing, with the fields of its RPC's request that the
path does not name: `request_id` on each, `filter` and paging for `tasks:retry`, `answer` for an answer, and `key`,
`state` and `result` for an effect. The header `Idempotency-Key` names a request as `request_id` does.
"""

_INTERNAL = """
## Services behind the gateway

These contracts are between the services. They may change with any release.
"""


def page() -> str:
    """The page."""
    gateway = contracts.definitions("gateway.proto")
    parts = [_INTRODUCTION, "\n## RPCs\n\n", _rpcs(gateway[0])]
    parts += ["\n## HTTP\n\n", table(("Request", "Answer"), _routes()), _JSON]
    parts += ["\n## Errors\n\n" + _ERRORS + "\n", table(("gRPC code", "HTTP", "Reason", "Meaning"), _errors())]
    for kind, title in (("enum", "Enums"), ("message", "Messages")):
        parts.append(f"\n## {title}\n")
        wanted = (*contracts.definitions("task.proto"), *gateway)
        parts += [_definition(item) for item in wanted if item.kind == kind]
    parts.append(_INTERNAL)
    for file in ("planner.proto", "dispatcher.proto", "worker.proto"):
        service = contracts.definitions(file)[0]
        parts.append(f"\n### {service.name}\n\n{service.comment}\n\n{_rpcs(service)}")
    return "".join(parts)


_ERRORS = """\
An error over gRPC carries `google.rpc.ErrorInfo` with the domain `waybill` and a reason; one about fields carries
`google.rpc.BadRequest` besides. Over HTTP the body is a problem (RFC 9457) of the type `application/problem+json`, with
`type`, `title`, `status`, `detail`, `code`, `reason` and `violations`, each of them a `field` and a `description`. The
table names the usual reason of each kind of error; [Reasons](reasons.md) lists all of them.
"""


def _rpcs(service: contracts.Definition) -> str:
    rows = ((code(rpc.name), code(rpc.types[0]), code(rpc.types[1]), rpc.comment) for rpc in service.members)
    return table(("RPC", "Takes", "Returns", "Meaning"), rows)


def _routes() -> Iterator[tuple[str, str]]:
    async def ready() -> bool:
        return True

    app = build_app(cast(Any, None), GatewaySettings.model_construct(), ready)
    for route in app.routes:
        assert isinstance(route, Route)
        method = min((route.methods or set()) - {"HEAD"})
        answer = one_line(inspect.getdoc(route.endpoint) or "").partition("`: ")[2]
        yield code(f"{method} {route.path}"), answer[:1].upper() + answer[1:]


def _errors() -> Iterator[tuple[str, str, str, str]]:
    for kind in (
        errors.InvalidArgument,
        errors.InvalidPlan,
        errors.NotFound,
        errors.AlreadyExists,
        errors.FailedPrecondition,
        errors.OutOfRange,
        errors.ResourceExhausted,
        errors.Unavailable,
    ):
        status = http_errors.status_of(kind.code, kind.reason)
        yield code(kind.code.name), str(status), code(kind.reason), one_line(inspect.getdoc(kind) or "")
    large = http_errors.BodyTooLarge
    yield code(large.code.name), "413", code(large.reason), one_line(inspect.getdoc(large) or "")


def _definition(item: contracts.Definition) -> str:
    if not item.members:
        return f"\n### {item.name}\n\n{item.comment} It has no fields.\n"
    if item.kind == "enum":
        body = table(("Value", "Meaning"), ((code(value.name), value.comment) for value in item.members))
    else:
        rows = ((code(field.name), field.types[0], field.comment) for field in item.members)
        body = table(("Field", "Type", "Meaning"), rows)
    return f"\n### {item.name}\n\n{item.comment}\n\n{body}"
