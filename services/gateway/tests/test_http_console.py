"""The web console as files: what is served, under which policy, and what its sources must never contain."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from waybill_gateway.http_files import MEDIA_TYPES, web_files

FILES = web_files("console")
MOST_LINES = 400
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacent|document\s*\.\s*write|DOMParser|createContextualFragment|parseFromString"
    r"|setHTML|srcdoc|\beval\b|new\s+Function|setAttribute(?:NS)?\(\s*[\"'](?:on|style)|\.cssText|javascript:"
    r"|setTimeout\(\s*[\"'`]|import\s*\(|WebSocket|sendBeacon|XMLHttpRequest|EventSource\b\s*\("
)
"""What could turn a text into markup, script or style, or reach another place than the gateway."""
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
ADDRESS = re.compile(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.IGNORECASE)
NAMESPACES = {"http://www.w3.org"}


class Page(HTMLParser):
    """Collects what a page loads and what it would run."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loaded += [str(given[name]) for name in ("src", "href") if name in given]
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


async def test_the_page_is_served_under_a_strict_policy(http) -> None:
    response = await http.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["img-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["referrer-policy"] == "no-referrer"


async def test_a_file_is_served_with_its_type_and_sent_once(http) -> None:
    for name in FILES:
        response = await http.get(f"/console/{name}")
        assert response.status_code == 200
        assert response.content == files("waybill_gateway").joinpath("console", name).read_bytes()
        assert response.headers["content-type"].startswith(MEDIA_TYPES[name[name.rindex(".") :]])
        assert "content-security-policy" in response.headers
        again = await http.get(f"/console/{name}", headers={"if-none-match": f'"other", {response.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == response.headers["etag"]
        assert (await http.get(f"/console/{name}", headers={"if-none-match": '"other"'})).status_code == 200


async def test_nothing_else_is_served(http) -> None:
    for name in ("nothing.js", "..%2fhttp_console.py", "%2e%2e/http_console.py", "..%5chttp_console.py", "x/main.js"):
        response = await http.get(f"/console/{name}")
        assert response.status_code == 404
        assert response.headers["content-type"].startswith("application/")


async def test_the_page_loads_only_what_is_there_and_runs_nothing_of_its_own(http) -> None:
    page = Page()
    page.feed((await http.get("/")).text)
    assert page.inline == []
    local = [address for address in page.loaded if not address.startswith("#")]
    assert "console/main.js" in local
    assert {address.removeprefix("console/") for address in local} <= FILES.keys()


def test_every_module_imports_only_modules_that_are_there_and_all_are_used() -> None:
    imported = {"main.js", "early.js"}
    for file in FILES.values():
        if file.media_type == "text/javascript":
            found = re.findall(r"(?:from|^import) \"([^\"]+)\"", file.content.decode(), re.MULTILINE)
            assert all(address.startswith("./") for address in found)
            imported |= {address.removeprefix("./") for address in found}
    assert imported == {name for name in FILES if name.endswith(".js")}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_is_small_and_has_nothing_that_makes_markup_or_leads_elsewhere(name: str) -> None:
    text = FILES[name].content.decode()
    assert text.count("\n") < MOST_LINES
    assert FORBIDDEN.findall(COMMENT.sub("", text)) == []
    assert set(ADDRESS.findall(text)) - NAMESPACES == set()
