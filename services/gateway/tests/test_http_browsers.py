"""What browsers, caches and proxies are told: origins, methods, compression, and what may be kept."""

from __future__ import annotations

import gzip
import json

import pytest
from pydantic import ValidationError
from waybill_gateway.http_app import MIN_COMPRESSED_BYTES
from waybill_gateway.settings import GatewaySettings

TASK = "tasks/t1"
EVENTS = f"/v1/{TASK}/events"
FRIEND = "https://ops.example.com"
STRANGER = "https://stranger.example"
GOAL = {"goal": "Why?"}


@pytest.fixture
def settings(settings: GatewaySettings, request: pytest.FixtureRequest) -> GatewaySettings:
    """The settings of all gateway tests, with the origins that a test is marked with."""
    return settings.model_copy(update={"cors_origins": getattr(request, "param", ())})


def for_origins(*origins: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("settings", [origins], indirect=True)


async def preflight(http, origin: str, method: str = "POST"):
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,idempotency-key,last-event-id,x-waybill-tenant",
    }
    return await http.options("/v1/tasks", headers=asked)


async def test_without_a_setting_no_other_origin_is_let_in(http, dispatcher):
    assert "access-control-allow-origin" not in (await preflight(http, FRIEND)).headers
    assert "access-control-allow-origin" not in (await http.get("/v1/agents", headers={"Origin": FRIEND})).headers


@for_origins(FRIEND, "http://localhost:3000")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_named_origin_may_ask_for_all_that_the_api_takes(http, method):
    allowed = (await preflight(http, FRIEND, method)).headers
    assert allowed["access-control-allow-origin"] == FRIEND
    assert method in allowed["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in allowed
    assert "access-control-allow-origin" not in (await preflight(http, STRANGER, method)).headers


@for_origins(FRIEND)
async def test_a_named_origin_may_call_and_read_what_went_wrong(http):
    accepted = await http.post("/v1/tasks", json=GOAL, headers={"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"})
    refused = await http.post("/v1/tasks", json={}, headers={"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"})
    assert (accepted.status_code, refused.status_code) == (200, 400)
    for response in (accepted, refused):
        assert response.headers["access-control-allow-origin"] == FRIEND
        assert "origin" in response.headers["vary"].lower()


@for_origins("*")
async def test_a_star_lets_all_in(http):
    response = await http.post("/v1/tasks", json=GOAL, headers={"Origin": STRANGER, "Sec-Fetch-Site": "cross-site"})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, "*")


@for_origins(FRIEND)
@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": STRANGER, "Sec-Fetch-Site": "cross-site"},
        {"Origin": STRANGER},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_what_a_page_of_another_origin_would_change_is_refused_before_anything_happens(http, dispatcher, sent):
    # A text needs no preflight, so only the refusal of the request itself keeps the task out.
    response = await http.post("/v1/tasks", content=json.dumps(GOAL), headers={"Content-Type": "text/plain", **sent})
    assert (response.status_code, response.json()["reason"]) == (403, "ORIGIN_REFUSED")
    assert not dispatcher.tasks


@pytest.mark.parametrize("site", ["same-origin", "none", None])
async def test_the_gateways_own_pages_and_programs_are_let_in(gateway, http, site):
    own = {"Origin": f"http://127.0.0.1:{gateway.http.port}"}
    sent = {**own, "Sec-Fetch-Site": site} if site else own
    assert (await http.post("/v1/tasks", json=GOAL, headers=sent)).status_code == 200
    assert (await http.post("/v1/tasks", json=GOAL)).status_code == 200


@pytest.mark.parametrize("origins", ["ops.example.com", "https://ops.example.com/", "https://a.b/c", "null", "ftp://a"])
def test_what_is_no_origin_is_no_setting(monkeypatch, origins):
    monkeypatch.setenv("WAYBILL_GATEWAY_CORS_ORIGINS", f"{FRIEND},{origins}")
    with pytest.raises(ValidationError):
        GatewaySettings()


def test_origins_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("WAYBILL_GATEWAY_CORS_ORIGINS", f" {FRIEND} , http://[::1]:3000,")
    assert GatewaySettings().cors_origins == (FRIEND, "http://[::1]:3000")


async def test_options_name_the_methods_of_all_routes_at_a_path(http):
    response = await http.options("/v1/tasks")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    refused = await http.delete("/v1/tasks")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert (await http.options("/v1/nothing")).status_code == 404


@pytest.mark.parametrize("path", ["/v1/agents", f"/v1/{TASK}", EVENTS, "/healthz", "/openapi.json"])
async def test_head_tells_what_get_would_and_sends_nothing(http, dispatcher, path):
    dispatcher.add_task(TASK)
    response = await http.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert dispatcher.streams_opened == 0
    assert (await http.head("/v1/tasks/unknown/events")).status_code == 404


async def test_no_answer_of_the_api_may_be_kept(http, dispatcher):
    dispatcher.add_task(TASK)
    await dispatcher.emit(TASK, finish=True)
    for path in ("/v1/agents", "/v1/tasks/unknown", "/v1/nothing", EVENTS):
        response = await http.get(path)
        assert response.headers["cache-control"] == "no-store"
        assert path == EVENTS or response.headers["x-content-type-options"] == "nosniff"


async def test_large_answers_are_compressed_for_those_who_can_read_them(http, dispatcher):
    for number in range(200):
        dispatcher.add_task(f"tasks/t{number}")
    async with http.stream("GET", "/v1/tasks?page_size=200") as compressed:
        raw = b"".join([chunk async for chunk in compressed.aiter_raw()])
    plain = await http.get("/v1/tasks?page_size=200", headers={"Accept-Encoding": "identity"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in compressed.headers["vary"].lower()
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 4


async def test_small_answers_and_streams_are_not_compressed(http, dispatcher):
    dispatcher.add_task(TASK, events=50)
    await dispatcher.emit(TASK, finish=True)
    small = await http.get("/v1/agents")
    stream = await http.get(EVENTS)
    assert len(small.content) < MIN_COMPRESSED_BYTES < len(stream.content)
    for response in (small, stream):
        assert "content-encoding" not in response.headers
