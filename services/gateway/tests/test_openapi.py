"""The OpenAPI document says what the app does."""

from __future__ import annotations

from starlette.routing import Route
from waybill_gateway.http_app import build_app
from waybill_gateway.openapi import OPERATIONS, document
from waybill_gateway.settings import GatewaySettings

from waybill.api.v1 import gateway_pb2


async def ready() -> bool:
    return True


def test_the_table_names_every_route_and_no_other():
    app = build_app(None, GatewaySettings(), ready)
    served = {(method, route.path) for route in app.routes if isinstance(route, Route) for method in route.methods}
    listed = {(operation.method, operation.path) for operation in OPERATIONS}
    pages = ("/", "/console/{file}", "/healthz", "/readyz", "/openapi.json", "/schemas/plan.json")
    outside = {("GET", path) for path in pages}
    assert {item for item in served if item[0] != "HEAD"} - outside == listed


def test_every_rpc_can_be_called_over_http():
    rpcs = {method.name for method in gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].methods}
    assert {operation.name for operation in OPERATIONS} == rpcs


def test_no_two_operations_have_one_id():
    ids = [operation.id for operation in OPERATIONS]
    assert len(ids) == len(set(ids))


def test_every_reference_of_the_document_leads_somewhere():
    schemas = document()["components"]["schemas"]
    stack, found = [document()], set()
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("$ref"), str):
                found.add(item["$ref"].removeprefix("#/components/schemas/"))
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    assert found
    assert found <= schemas.keys()


async def test_the_document_is_served(http):
    response = await http.get("/openapi.json")
    assert response.status_code == 200
    assert response.json() == document()
