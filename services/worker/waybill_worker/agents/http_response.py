"""What the agent `http` returns, and which answers of servers are none."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

from waybill.errors import AgentError, Permanent

if TYPE_CHECKING:
    from waybill_worker.agents.http_fetch import Answer

Expected = Annotated[int, Field(ge=100, le=599)] | Literal["2xx", "3xx", "4xx", "5xx"]
MAX_HEADER_CHARS = 8_192
_TOLD_HEADERS = frozenset(
    {"content-type", "content-length", "content-language", "content-disposition", "content-location", "etag"}
    | {"last-modified", "date", "expires", "cache-control", "location", "link", "retry-after", "allow", "age", "vary"}
    | {"x-request-id", "x-total-count"}
)


class HttpResponse(BaseModel):
    """What `http` returns. The body is in one of data, text and base64, as `form` says."""

    status: int = Field(description="status code")
    url: str = Field(description="the URL that answered, after all redirects")
    media_type: str = Field(description="as the server tells it, without parameters; empty if it tells none")
    headers: dict[str, str] = Field(description="what describes the answer, names in lower case; no cookies")
    form: Literal["json", "text", "base64", "empty"] = Field(description="which field has the body")
    data: Any = Field(default=None, description="the body as a JSON value")
    text: str = Field(default="", description="the body as text")
    base64: str = Field(default="", description="the body where it is no text")


def response_of(answer: Answer) -> HttpResponse:
    """What to return for an answer."""
    from waybill_worker.agents.http_body import body_of, media_type_of

    response = answer.response
    told = {
        name: value[:MAX_HEADER_CHARS]
        for name, value in response.headers.items()
        if name in _TOLD_HEADERS or name.startswith(("x-ratelimit-", "ratelimit"))
    }
    return HttpResponse(
        status=response.status_code,
        url=str(answer.url),
        media_type=media_type_of(response),
        headers=told,
        **body_of(response, answer.content).model_dump(),
    )


def judged(response: HttpResponse, expect: tuple[Any, ...]) -> HttpResponse:
    """The response, if its status counts as success. Raises AgentError for what may pass, Permanent for the rest."""
    status = response.status
    if expected(status, expect):
        return response
    problem = f"the server answered {status}"
    if status == 429 or status >= 500:
        wait_seconds = _seconds(response.headers.get("retry-after"))
        raise AgentError(problem, reason=f"HTTP_{status}", retry_after_seconds=wait_seconds)
    raise Permanent(f"{problem}, which `expect` does not name", reason="HTTP_STATUS_UNEXPECTED")


def expected(status: int, expect: tuple[Any, ...]) -> bool:
    """Whether the status counts as success."""
    if not expect:
        return status < 500 and status != 429
    return any(status == each or f"{status // 100}xx" == each for each in expect)


def _seconds(retry_after: str | None) -> float:
    """The wait that a server asks for, in seconds or until a date; 0 if it asks for none that can be read."""
    if not retry_after:
        return 0.0
    if retry_after.isascii() and retry_after.strip().isdigit():
        return float(retry_after.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
