"""One fetch: a request and the redirects that it leads to, each hop checked, with limits of time and of size."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import httpcore
import httpx

from waybill.errors import AgentError, Permanent
from waybill_worker.agents import http_body
from waybill_worker.agents.http_transport import CheckedNetwork, CheckedTransport

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_URL_CHARS = 8_192
_KEPT_ACROSS_ORIGINS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""Any other header of the caller may hold a secret of the host that it was meant for."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: `headers` have lower-case names."""

    method: str
    url: httpx.URL
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    response: httpx.Response
    url: httpx.URL
    content: bytes


class FetchFailed(Exception):
    """No whole answer came. `sent` says whether the server may have got a request; `error` is what to raise."""

    def __init__(self, error: AgentError, sent: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.sent = sent


@dataclass(slots=True)
class Fetch:
    """Fetches one URL. `allows_host` is the task's policy; every hop is asked for."""

    network: CheckedNetwork
    context: ssl.SSLContext
    allows_host: Callable[[str], bool]
    timeout_seconds: float
    max_bytes: int
    max_redirects: int
    _sent: bool = field(default=False, init=False)

    async def run(self, request: Request) -> Answer:
        """The answer at the end of all redirects. Raises FetchFailed."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._follow(request)
        except AgentError as error:
            raise FetchFailed(error, self._sent) from error
        except (TimeoutError, httpcore.TimeoutException) as error:
            limit = f"timeout_seconds is {self.timeout_seconds:g}"
            problem = f"{shown(request.url)} did not answer in time ({limit})"
            raise FetchFailed(AgentError(problem, reason="HTTP_TIMEOUT"), self._sent) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            problem = f"{shown(request.url)} could not be fetched: {_said(error)}"
            raise FetchFailed(AgentError(problem, reason="HTTP_FAILED"), self._sent) from error

    async def _follow(self, request: Request) -> Answer:
        for _ in range(self.max_redirects + 1):
            self._check(request.url)
            answer = await self._send(request)
            location = answer.response.headers.get("location")
            if answer.response.status_code not in REDIRECTS or not location:
                return answer
            if self.max_redirects == 0:
                return answer
            request = redirected(request, answer.response.status_code, location)
        raise Permanent(
            f"{shown(request.url)} is the end of more than {self.max_redirects} redirects (max_redirects)",
            reason="TOO_MANY_REDIRECTS",
        )

    def _check(self, url: httpx.URL) -> None:
        check_url(url)
        if not self.allows_host(url.raw_host.decode("ascii").lower().strip("[]").removesuffix(".")):
            raise Permanent(
                f"the task's policy does not allow to fetch from {url.host}: its allowed_hosts would have to name it",
                reason="HOST_NOT_ALLOWED",
            )

    async def _send(self, request: Request) -> Answer:
        transport = CheckedTransport(self.network, self.context)
        built = httpx.Request(
            request.method,
            request.url,
            headers={"user-agent": "waybill", "accept": "*/*", "accept-encoding": http_body.ENCODINGS}
            | dict(request.headers)
            | {"connection": "close"},
            content=request.content or None,
            extensions={"trace": self._trace},
        )
        try:
            response = await transport.handle_async_request(built)
            try:
                content = await self._read(request, response)
            finally:
                await response.aclose()
        finally:
            await transport.aclose()
        return Answer(response, request.url, content)

    async def _read(self, request: Request, response: httpx.Response) -> bytes:
        if request.method == "HEAD" or (response.status_code in REDIRECTS and "location" in response.headers):
            return b""
        try:
            return await http_body.read(response, self.max_bytes)
        except http_body.BodyTooLarge as error:
            problem = f"the body of {shown(request.url)} has more than {self.max_bytes} bytes (max_bytes)"
            raise Permanent(problem, reason="BODY_TOO_LARGE") from error
        except http_body.BodyUnreadable as error:
            raise Permanent(f"{shown(request.url)}: {error}", reason="BODY_UNREADABLE") from error

    async def _trace(self, event: str, _info: Mapping[str, object]) -> None:
        if event == "http11.send_request_headers.started":
            self._sent = True


def check_url(url: httpx.URL) -> None:
    """Raises Permanent (URL_INVALID) for what is not fetched at all."""
    problem = ""
    if url.scheme not in ("http", "https"):
        problem = "only http and https are fetched"
    elif not url.raw_host:
        problem = "it names no host"
    elif url.userinfo:
        problem = "it has a user or a password: send them in a header"
    elif url.port is not None and not 1 <= url.port <= 65_535:
        problem = "its port must lie between 1 and 65535"
    elif len(str(url)) > MAX_URL_CHARS:
        problem = f"it has more than {MAX_URL_CHARS} characters"
    if problem:
        raise Permanent(f"the URL {shown(url)} cannot be fetched: {problem}", reason="URL_INVALID")


def parsed_url(text: str) -> httpx.URL:
    """The URL that a text is. Raises Permanent (URL_INVALID)."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise Permanent(f"url: this is no URL ({_said(error)})", reason="URL_INVALID") from error
    check_url(url)
    return url


def redirected(request: Request, status: int, location: str) -> Request:
    """The request that a redirect asks for. What was meant for one origin alone does not go to another."""
    try:
        url = request.url.join(location).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        problem = f"{shown(request.url)} redirects to what is no URL ({_said(error)})"
        raise Permanent(problem, reason="URL_INVALID") from error
    following = replace(request, url=url)
    if status == 303 or (status in (301, 302) and request.method == "POST"):
        headers = {name: value for name, value in request.headers.items() if not name.startswith("content-")}
        method = "HEAD" if request.method == "HEAD" else "GET"
        following = replace(following, method=method, content=b"", headers=headers)
    if _origin(url) != _origin(request.url):
        kept = {name: value for name, value in following.headers.items() if name in _KEPT_ACROSS_ORIGINS}
        following = replace(following, headers=kept)
    return following


@cache
def tls_context(ca_file: str) -> ssl.SSLContext:
    """What certificates are checked with. Made once, which takes tens of milliseconds. Raises OSError."""
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def shown(url: httpx.URL) -> str:
    """The URL for an error: without the parts that may hold a secret."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))[:300]


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300] if str(error) else type(error).__name__
