"""The agent `http`: fetches a URL, from public addresses and what the operator allows beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from waybill import Context, agent
from waybill.core.limits import MIB
from waybill.errors import AgentError, Permanent
from waybill_worker.agents.http_response import MAX_HEADER_CHARS, Expected, HttpResponse, judged, response_of
from waybill_worker.agents.http_settings import HttpSettings

if TYPE_CHECKING:
    from waybill_worker.agents.http_fetch import Fetch

Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
MAX_BODY_BYTES = 2 * MIB
MAX_HEADERS = 64
_EFFECTS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REPEATABLE = frozenset({"PUT", "DELETE"})
"""Methods with an effect that is the same when it happens twice, as HTTP itself says."""
_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect"}
    | {"accept-encoding", "proxy-authorization", "proxy-connection"}
)


@agent
async def http(
    ctx: Context,
    url: Annotated[str, Field(min_length=1, max_length=8_192, description="http or https, without user or password")],
    method: Method = "GET",
    headers: Annotated[dict[str, str], Field(max_length=MAX_HEADERS, description="sent to the URL's own origin")] = {},  # noqa: B006 - never changed
    body: Annotated[str, Field(description="text to send")] = "",
    data: Annotated[Any, Field(description="JSON value to send, in place of body")] = None,
    timeout_seconds: Annotated[float, Field(gt=0, description="for all of the fetch, redirects included")] = 30.0,
    max_bytes: Annotated[
        int, Field(ge=1, le=MAX_BODY_BYTES, description="largest body of an answer, decompressed")
    ] = MAX_BODY_BYTES,
    max_redirects: Annotated[int, Field(ge=0, le=20, description="0 returns a redirect as it is")] = 5,
    expect: Annotated[
        tuple[Expected, ...], Field(max_length=20, description="the statuses that count as success; else below 500")
    ] = (),
    idempotent: Annotated[
        bool, Field(description="the request may be repeated, such as one that the server knows by Idempotency-Key")
    ] = False,
) -> HttpResponse:
    """Fetch a URL and return the answer.

    Addresses that are not public are refused unless the operator allows them, and so are hosts that the task's policy
    does not allow, at every redirect. POST, PUT, PATCH and DELETE carry an Idempotency-Key and are sent once: if nobody
    knows whether one was done, it is repeated only if that is safe (PUT, DELETE, or `idempotent`). 429 and 5xx fail the
    attempt, with the wait that the server asks for.
    """
    from waybill_worker.agents.http_effect import send_once
    from waybill_worker.agents.http_fetch import FetchFailed, Request, parsed_url

    sent = _headers(headers)
    content = _content(sent, body, data)
    if method in _EFFECTS:
        sent.setdefault("idempotency-key", ctx.idempotency_key)
    request = Request(method, parsed_url(url), sent, content)
    fetch = await _fetch(ctx, timeout_seconds, max_bytes, max_redirects)
    if method in _EFFECTS:
        return await send_once(ctx, fetch, request, expect, repeatable=idempotent or method in _REPEATABLE)
    try:
        answer = await fetch.run(request)
    except FetchFailed as failed:
        raise failed.error from failed
    return judged(response_of(answer), expect)


async def _fetch(ctx: Context, timeout_seconds: float, max_bytes: int, max_redirects: int) -> Fetch:
    from waybill_worker.agents.http_fetch import Fetch, tls_context
    from waybill_worker.agents.http_transport import CheckedNetwork

    settings = HttpSettings()
    if timeout_seconds > settings.http_max_timeout_seconds:
        limit = settings.http_max_timeout_seconds
        raise Permanent(f"timeout_seconds: {timeout_seconds:g}; at most {limit:g} are allowed", reason="INPUT_INVALID")
    try:
        context = tls_context(settings.http_ca_file)
    except OSError as error:
        raise AgentError("the operator's WAYBILL_WORKER_HTTP_CA_FILE cannot be read", reason="HTTP_FAILED") from error
    policy = await ctx.policy()
    network = CheckedNetwork(settings.allowed)
    return Fetch(network, context, policy.allows_host, timeout_seconds, max_bytes, max_redirects)


def _headers(headers: dict[str, str]) -> dict[str, str]:
    sent: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if not name or not all(character.isalnum() or character in "!#$%&'*+-.^_`|~" for character in name):
            raise Permanent(f"headers: {name[:100]!r} is no name of a header", reason="INPUT_INVALID")
        if not name.isascii() or lower in _OURS or lower in sent:
            raise Permanent(f"headers: {name[:100]} cannot be set, or is there twice", reason="INPUT_INVALID")
        fits = value.isascii() and value.isprintable() and value == value.strip()
        if not fits or len(value) > MAX_HEADER_CHARS:
            problem = f"must be at most {MAX_HEADER_CHARS} visible ASCII characters, on one line"
            raise Permanent(f"headers.{name}: {problem}", reason="INPUT_INVALID")
        sent[lower] = value
    return sent


def _content(headers: dict[str, str], body: str, data: Any) -> bytes:
    if data is None:
        return body.encode("utf-8", "replace")
    if body:
        raise Permanent("body and data: only one of them can be sent", reason="INPUT_INVALID")
    headers.setdefault("content-type", "application/json")
    return json.dumps(data, ensure_ascii=True, separators=(",", ":")).encode()
