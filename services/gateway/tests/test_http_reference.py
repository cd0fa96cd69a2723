"""The pages about the API: all that can be called and all problems, from no address but the gateway's."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from waybill_gateway.openapi import OPERATIONS
from waybill_gateway.openapi_document import document
from waybill_gateway.problems import PROBLEMS
from waybill_gateway.reference_page import reference_page

VOID = {"meta", "link", "input", "br", "hr", "img"}


class Read(HTMLParser):
    """What a page holds: its ids, what it links to and loads, the fields of its forms, and whether its tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.texts: list[str] = []
        self.fields: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert "style" not in given
        assert not [name for name in given if name.startswith("on")]
        if tag not in VOID:
            self._open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag in ("link", "script", "img"):
            self.loaded.append(given.get("href") or given["src"])
        if tag in ("input", "textarea"):
            self.fields.append((tag, given.get("name", "")))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)


@pytest.mark.parametrize("path", ["/docs", "/docs/problems"])
async def test_a_page_loads_nothing_but_what_the_gateway_serves(http, path):
    response = await http.get(path)
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert (response.headers["x-content-type-options"], response.headers["referrer-policy"]) == (
        "nosniff",
        "no-referrer",
    )
    page = Read(response.text)
    assert page.loaded
    for file in page.loaded:
        assert (await http.get(str(response.url.join(file)))).status_code == 200
    for link in {link.partition("#")[0] for link in page.links} - {""}:
        assert (await http.get(str(response.url.join(link)))).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/docs/problems"])
async def test_every_link_inside_a_page_leads_somewhere_and_every_place_has_one_id(http, path):
    page = Read((await http.get(path)).text)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


async def test_the_page_shows_every_call_with_a_field_for_all_that_it_takes(http):
    page = Read((await http.get("/docs")).text)
    assert {operation.id for operation in OPERATIONS} <= set(page.ids)
    assert {f"schema-{name}" for name in document()["components"]["schemas"]} <= set(page.ids)
    wanted = sum(len(item.get("parameters", ())) for path in document()["paths"].values() for item in path.values())
    wanted += sum(item.get("security") != [] for path in document()["paths"].values() for item in path.values())
    assert len([field for field in page.fields if field[0] == "input"]) == wanted + len(["search"])
    bodies = sum("requestBody" in item for path in document()["paths"].values() for item in path.values())
    assert page.fields.count(("textarea", "body")) == bodies


async def test_every_problem_is_where_its_type_says(http):
    response = await http.post("/v1/tasks", json={})
    where, _, reason = response.json()["type"].partition("#")
    page = Read((await http.get(where)).text)
    assert reason in page.ids
    assert PROBLEMS.keys() <= set(page.ids)


async def test_a_page_is_sent_once_and_then_known(http):
    first = await http.get("/docs")
    again = await http.get("/docs", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await http.get("/docs/nothing.js")).status_code == 404


def test_what_a_description_says_stays_text():
    hostile = "<script>alert(1)</script> <img src=x onerror=y> [a](javascript:alert(1)) \"&'</code>"
    changed = {**document(), "tags": [{"name": tag["name"], "description": hostile} for tag in document()["tags"]]}
    page = Read(reference_page(changed))
    assert [link for link in page.links if link.startswith("javascript")] == []
    assert page.loaded == Read(reference_page(document())).loaded
