"""The schemas of files are served as they are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from waybill_gateway.http_schemas import MEDIA_TYPE, schema_routes

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.parametrize("kind", ["plan", "template"])
def test_a_schema_is_served_as_it_stands_in_the_reference(kind: str) -> None:
    response = TestClient(Starlette(routes=schema_routes())).get(f"/schemas/{kind}.json")
    assert response.status_code == 200
    assert response.headers["content-type"] == MEDIA_TYPE
    assert response.json() == json.loads((REFERENCE / f"{kind}.schema.json").read_text())
