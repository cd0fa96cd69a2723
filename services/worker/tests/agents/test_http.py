"""The agent `http`: real servers on loopback, which the operator allows; nothing else is ever connected to."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waybill_worker.agents import http as http_module
from waybill_worker.agents import http_transport
from waybill_worker.agents.http import http
from waybill_worker.agents.http_fetch import Request, parsed_url, redirected
from worker_certificate import Certificate
from worker_web import Web, answer

from waybill.core.budget import TaskPolicy
from waybill.errors import AgentError, Permanent
from waybill.testing import run_agent


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator allows one loopback address."""
    monkeypatch.setenv("WAYBILL_WORKER_HTTP_ALLOWED_NETWORKS", "127.0.0.1")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for one name, of an authority of its own."""
    return Certificate.make("secure.example", tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Makes names of hosts lead where a test says: one list of addresses for each time that it is asked."""

    def lead(**leading: list[list[str]]) -> list[str]:
        asked: list[str] = []

        async def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            known = leading[host.partition(".")[0]]
            return known.pop(0) if len(known) > 1 else known[0]

        def network(allowed: Any) -> http_transport.CheckedNetwork:
            return checked(allowed, resolve)

        checked = http_transport.CheckedNetwork
        monkeypatch.setattr(http_transport, "CheckedNetwork", network)
        return asked

    return lead


async def fetch(url: str, **more: Any) -> dict[str, Any]:
    policy = more.pop("policy", None)
    output: dict[str, Any] = (await run_agent(http, {"url": url, **more}, policy=policy)).output
    return output


async def refusal(url: str, **more: Any) -> AgentError:
    with pytest.raises(AgentError) as caught:
        await fetch(url, **more)
    return caught.value


async def test_given_a_page_when_fetched_then_it_is_told_as_what_it_is() -> None:
    pages = {
        "/json": answer(200, b'{"n": [1, 2.5, null]}', content_type="application/problem+json; charset=utf-8"),
        "/text": answer(200, "bücher".encode("latin-1"), content_type="text/plain; charset=iso-8859-1", etag='"a"'),
        "/bytes": answer(200, b"\x00\xff\xfe", content_type="image/png", set_cookie="a=b"),
        "/none": answer(204),
        "/broken": answer(200, b'{"n": NaN}', content_type="application/json"),
        "/huge": answer(200, b'{"n": 1e999}', content_type="application/json"),
        "/lone": answer(200, b'"\\ud800"', content_type="application/json"),
        "/odd": answer(200, b"plain", content_type="text/plain; charset=no-such"),
        "/missing": answer(404, b"no", content_type="text/plain"),
    }
    async with Web(lambda asked: pages[asked.target]) as web:
        found = {path: await fetch(web.url(path)) for path in pages}

    assert found["/json"]["data"] == {"n": [1, 2.5, None]}
    assert found["/json"]["media_type"] == "application/problem+json"
    assert found["/text"]["text"] == "bücher"
    assert found["/text"]["headers"]["etag"] == '"a"'
    assert base64.b64decode(found["/bytes"]["base64"]) == b"\x00\xff\xfe"
    assert "set-cookie" not in found["/bytes"]["headers"]
    assert [page["form"] for page in found.values()] == [
        "json", "text", "base64", "empty", "text", "text", "text", "text", "text",
    ]  # fmt: skip
    assert found["/missing"]["status"] == 404
    assert found["/none"]["url"].endswith("/none")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2", "0x7f.0.0.2", "2130706434", "0177.2", "127.2", "[::1]", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]",
        "localhost.", "0.0.0.0", "[::]", "169.254.169.254", "10.0.0.1", "[fe80::1]", "[64:ff9b::7f00:2]",
        "[2002:7f00:2::]", "127。0。0。2", "①27.0.0.2",
    ],
)  # fmt: skip
async def test_given_an_address_that_is_not_public_however_spelled_when_fetched_then_nothing_is_connected(
    host: str, names: Callable[..., list[str]]
) -> None:
    names(localhost=[["127.0.0.2"]]) if host == "localhost." else None
    async with Web(hosts=("127.0.0.1", "127.0.0.2")) as web:
        error = await refusal(f"http://{host}:{web.port}/")

        assert isinstance(error, Permanent)
        assert error.reason in ("ADDRESS_REFUSED", "URL_INVALID")
        assert web.asked == []


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "file:///etc/passwd", "http://", "http:///x", "gopher://a/", "http://user:secret@a.example/",
     "http://a.example@127.0.0.1/", "//a.example/", "http://a.example:0/", "http://a.example:99999/", "nonsense",
     "http://a\x00b/", "http://" + "a" * 9000],
)  # fmt: skip
async def test_given_what_is_no_url_to_fetch_when_fetched_then_it_is_refused_without_telling_secrets(url: str) -> None:
    error = await refusal(url)

    assert isinstance(error, Permanent)
    assert error.reason in ("URL_INVALID", "INPUT_INVALID")
    assert "secret" not in error.message


async def test_given_a_name_that_leads_elsewhere_the_next_time_then_the_connection_goes_where_it_was_checked(
    names: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_HTTP_ALLOWED_NETWORKS", "127.0.0.2")
    asked = names(rebind=[["127.0.0.2"], ["127.0.0.1"]])
    async with Web(hosts=("127.0.0.1", "127.0.0.2")) as web:
        found = await fetch(web.url(host="rebind.example"))
        second = await refusal(web.url(host="rebind.example"))

    assert found["text"] == "hello"
    assert [(one.address, one.headers["host"]) for one in web.asked] == [("127.0.0.2", f"rebind.example:{web.port}")]
    assert asked == ["rebind.example", "rebind.example"]
    assert second.reason == "ADDRESS_REFUSED"


async def test_given_a_name_with_one_address_that_may_not_be_used_when_fetched_then_none_is(
    names: Callable[..., list[str]],
) -> None:
    names(mixed=[["127.0.0.1", "10.0.0.1"]])
    async with Web() as web:
        assert (await refusal(web.url(host="mixed.example"))).reason == "ADDRESS_REFUSED"
        assert web.asked == []


async def test_given_a_name_that_is_refused_then_the_error_does_not_tell_where_it_leads(
    names: Callable[..., list[str]],
) -> None:
    names(inner=[["10.9.8.7"]])

    assert "10.9.8.7" not in (await refusal("http://inner.example/")).message


async def test_given_https_when_fetched_then_the_certificate_is_checked_for_the_name_and_not_the_address(
    names: Callable[..., list[str]], certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_HTTP_CA_FILE", certificate.ca_file)
    names(secure=[["127.0.0.1"]], other=[["127.0.0.1"]])
    async with Web(tls=certificate.context()) as web:
        assert (await fetch(web.url(host="secure.example")))["text"] == "hello"
        assert (await refusal(web.url(host="other.example"))).reason == "HTTP_FAILED"
        monkeypatch.delenv("WAYBILL_WORKER_HTTP_CA_FILE")
        assert (await refusal(web.url(host="secure.example"))).reason == "HTTP_FAILED"

    assert [asked.server_name for asked in web.asked] == ["secure.example"]


async def test_given_a_name_whose_first_address_is_dead_when_fetched_then_the_next_is_tried(
    names: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_HTTP_ALLOWED_NETWORKS", "127.0.0.0/8")
    names(two=[["127.0.0.3", "127.0.0.1"]])
    async with Web() as web:
        assert (await fetch(web.url(host="two.example")))["status"] == 200


async def test_given_an_allowed_name_when_it_leads_inside_then_it_is_fetched(
    names: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_HTTP_ALLOWED_NETWORKS", "wiki.example")
    names(wiki=[["127.0.0.1"]], other=[["127.0.0.1"]])
    async with Web() as web:
        assert (await fetch(web.url(host="wiki.example")))["status"] == 200
        assert (await refusal(web.url(host="other.example"))).reason == "ADDRESS_REFUSED"


async def test_given_a_redirect_inside_when_fetched_then_that_hop_is_refused() -> None:
    async with Web(hosts=("127.0.0.1", "127.0.0.2")) as web:
        web.answering = lambda asked: answer(302, location=f"http://0x7f000002:{web.port}/secret")

        assert (await refusal(web.url())).reason == "ADDRESS_REFUSED"
        assert [one.address for one in web.asked] == ["127.0.0.1"]


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://127.0.0.1:99999/"]
)
async def test_given_a_redirect_to_what_is_not_fetched_then_it_is_refused(location: str) -> None:
    async with Web(lambda asked: answer(302, location=location)) as web:
        assert (await refusal(web.url())).reason == "URL_INVALID"


async def test_given_a_policy_when_a_hop_leaves_its_hosts_then_that_is_refused(
    names: Callable[..., list[str]],
) -> None:
    names(good=[["127.0.0.1"]], bad=[["127.0.0.1"]])
    policy = TaskPolicy(allowed_hosts=("good.example",))
    async with Web() as web:
        assert (await fetch(web.url(host="GOOD.example."), policy=policy))["status"] == 200
        assert (await refusal(web.url(host="bad.example"), policy=policy)).reason == "HOST_NOT_ALLOWED"
        web.answering = lambda asked: answer(307, location=web.url(host="bad.example"))
        assert (await refusal(web.url(host="good.example"), policy=policy)).reason == "HOST_NOT_ALLOWED"
        assert len(web.asked) == 2


async def test_given_redirects_when_followed_then_the_end_is_told_and_a_limit_holds() -> None:
    async with Web() as web:
        web.answering = lambda asked: (
            answer(200, b"end") if asked.target == "/3" else answer(302, location=f"/{int(asked.target[1:]) + 1}")
        )
        assert (await fetch(web.url("/0")))["url"] == web.url("/3")
        assert (await refusal(web.url("/0"), max_redirects=2)).reason == "TOO_MANY_REDIRECTS"
        assert (await fetch(web.url("/0"), max_redirects=0))["headers"]["location"] == "/1"


async def test_given_secrets_in_headers_when_redirected_to_another_origin_then_they_stay_behind() -> None:
    async with Web() as other, Web(lambda asked: answer(302, location=other.url("/there"))) as web:
        headers = {"Authorization": "Bearer s", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "text/plain"}
        await fetch(web.url(), headers=headers)

    (first,), (second,) = web.asked, other.asked
    assert (first.headers["authorization"], first.headers["x-api-key"]) == ("Bearer s", "k")
    assert not {"authorization", "cookie", "x-api-key"} & set(second.headers)
    assert second.headers["accept"] == "text/plain"


@given(
    st.sampled_from([301, 302, 303, 307, 308]),
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]),
    st.sampled_from(["/x", "https://a.example/x", "http://a.example:81/", "http://b.example/", "//c.example/"]),
    st.dictionaries(st.sampled_from(["authorization", "cookie", "x-key", "idempotency-key", "accept"]), st.just("v")),
)
def test_given_any_redirect_then_headers_pass_to_the_same_origin_alone(
    status: int, method: str, location: str, headers: dict[str, str]
) -> None:
    before = Request(method, parsed_url("http://a.example/start"), headers, b"body" if method == "POST" else b"")

    after = redirected(before, status, location)

    if location == "/x":
        assert after.headers == headers
    else:
        assert set(after.headers) <= {"accept"}
    if method == "POST" and status in (301, 302, 303):
        assert (after.method, after.content) == ("GET", b"")
    if status in (307, 308):
        assert (after.method, after.content) == (before.method, before.content)


async def test_given_a_body_over_the_limit_when_fetched_then_it_is_cut_off_naming_the_limit() -> None:
    bombs = {
        "/plain": answer(200, b"x" * 1001),
        "/gzip": answer(200, gzip.compress(b"0" * 50_000_000, mtime=0), content_encoding="gzip"),
        "/deflate": answer(200, zlib.compress(b"0" * 5_000_000), content_encoding="deflate"),
        "/endless": b"HTTP/1.1 200 OK\r\n\r\n" + b"y" * 100_000,
    }
    async with Web(lambda asked: bombs[asked.target]) as web:
        for path in bombs:
            error = await refusal(web.url(path), max_bytes=1000)
            assert (error.reason, "1000 bytes (max_bytes)" in error.message) == ("BODY_TOO_LARGE", True)
        assert len((await fetch(web.url("/plain"), max_bytes=1001))["text"]) == 1001


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", ""])
async def test_given_a_compressed_body_when_fetched_then_it_is_read(encoding: str) -> None:
    packed = {"gzip": gzip.compress(b"hello", mtime=0), "deflate": zlib.compress(b"hello")}.get(encoding, b"hello")
    async with Web(lambda asked: answer(200, packed, content_encoding=encoding)) as web:
        assert (await fetch(web.url()))["text"] == "hello"
    assert web.asked[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"junk", "gzip"), (gzip.compress(b"hello", mtime=0)[:-9], "gzip"), (b"x", "br"), (b"x", "gzip, gzip")],
)
async def test_given_a_body_that_cannot_be_decompressed_when_fetched_then_it_says_so(
    body: bytes, encoding: str
) -> None:
    async with Web(lambda asked: answer(200, body, content_encoding=encoding)) as web:
        assert (await refusal(web.url())).reason == "BODY_UNREADABLE"


async def test_given_statuses_when_fetched_then_each_is_a_result_or_the_error_that_it_should_be() -> None:
    async with Web() as web:

        async def ask(status: int, expect: list[Any] | None = None, **headers: str) -> Any:
            web.answering = lambda asked: answer(status, **headers)
            return await fetch(web.url("/?token=secret"), **({"expect": expect} if expect else {}))

        assert (await ask(403))["status"] == 403
        assert (await ask(500, ["5xx"]))["status"] == 500
        assert (await ask(429, [200, 429]))["status"] == 429
        with pytest.raises(Permanent, match="answered 404") as caught:
            await ask(404, ["2xx"])
        assert "secret" not in caught.value.message
        for status, header, wait in [(429, "7", 7.0), (503, "", 0.0), (500, "soon", 0.0), (503, "²", 0.0)]:
            with pytest.raises(AgentError) as raised:
                await ask(status, retry_after=header)
            assert not isinstance(raised.value, Permanent)
            assert (raised.value.reason, raised.value.retry_after_seconds) == (f"HTTP_{status}", wait)
        with pytest.raises(AgentError) as raised:
            await ask(503, retry_after="Fri, 31 Dec 2100 23:59:59 GMT")
        assert raised.value.retry_after_seconds > 86_400


async def test_given_a_server_that_is_slow_or_breaks_off_when_fetched_then_the_attempt_fails() -> None:
    async with Web(hangs=True) as web:
        assert (await refusal(web.url(), timeout_seconds=0.3)).reason == "HTTP_TIMEOUT"
    async with Web(lambda asked: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc") as web:
        error = await refusal(web.url())
        assert (error.reason, isinstance(error, Permanent)) == ("HTTP_FAILED", False)
    async with Web(lambda asked: b"nonsense\r\n\r\n") as web:
        assert (await refusal(web.url())).reason == "HTTP_FAILED"
    assert (await refusal(web.url())).reason == "HTTP_FAILED"


async def test_given_proxies_in_the_environment_when_fetched_then_they_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Web() as proxy, Web() as web:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url())
        await fetch(web.url())

        assert (len(web.asked), proxy.asked) == (1, [])


@pytest.mark.parametrize(
    "input",
    [
        {"headers": {"Host": "b.example"}}, {"headers": {"a b": "c"}}, {"headers": {"A": "x\r\nB: y"}},
        {"headers": {"A": "1", "a": "2"}}, {"headers": {"Content-Length": "3"}}, {"headers": {"A": "é"}},
        {"body": "x", "data": 1}, {"timeout_seconds": 301}, {"timeout_seconds": 0}, {"method": "CONNECT"},
        {"max_bytes": 1 << 40}, {"expect": [42]}, {"headers": {"A": "x" * 9000}}, {"unknown": 1},
    ],
)  # fmt: skip
async def test_given_a_wrong_input_when_fetched_then_it_says_which(input: dict[str, Any]) -> None:
    async with Web() as web:
        error = await refusal(web.url(), **input)

        assert (error.reason, isinstance(error, Permanent)) == ("INPUT_INVALID", True)
        assert any(name in error.message for name in input)
        assert web.asked == []


async def test_given_json_to_send_when_posted_then_the_server_gets_it_with_its_type_and_a_key() -> None:
    async with Web() as web:
        await fetch(web.url(), method="POST", data={"a": [1, "é"]})
        await fetch(web.url(), method="PUT", body="é", headers={"Idempotency-Key": "mine"})
        await fetch(web.url(), method="HEAD")

    posted, put, head = web.asked
    assert json.loads(posted.body) == {"a": [1, "é"]}
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["idempotency-key"] == "task-1/step"
    assert (put.body.decode(), put.headers["idempotency-key"]) == ("é", "mine")
    assert "idempotency-key" not in head.headers
    assert http_module.http.is_async
