"""A request with an effect, sent once: what came of it is kept, and what nobody knows is not repeated blindly."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from waybill import NOT_DONE, Context
from waybill.core.limits import MAX_EFFECT_RESULT_BYTES
from waybill.errors import EffectUnknown, Permanent
from waybill_worker.agents.http_fetch import Fetch, FetchFailed, Request
from waybill_worker.agents.http_response import HttpResponse, expected, judged, response_of

_UNCLEAR = frozenset({500, 502, 504})
"""Statuses of a server that may have done what it was asked for all the same."""


async def send_once(
    ctx: Context, fetch: Fetch, request: Request, expect: tuple[Any, ...], *, repeatable: bool
) -> HttpResponse:
    """The response of the server to a request that any attempt of the step has sent.

    `repeatable` says that sending it twice does no harm. Raises AgentError for what did not happen, EffectUnknown where
    nobody knows and it is not repeatable, and Permanent for an answer that is of no use.
    """

    async def send() -> dict[str, Any]:
        """What is kept. To raise means that nothing happened, but for EffectUnknown."""
        try:
            answer = await fetch.run(request)
        except FetchFailed as failed:
            if failed.sent and isinstance(failed.error, Permanent):
                # The server has answered; it is only that its answer cannot be used.
                return {"failure": failed.error.message, "reason": failed.error.reason}
            if failed.sent and not repeatable:
                raise _unknown(failed.error.message) from failed
            raise failed.error from failed
        response = response_of(answer)
        if not expected(response.status, expect) and (response.status >= 500 or response.status == 429):
            if response.status in _UNCLEAR and not repeatable:
                raise _unknown(f"the server answered {response.status}")
            judged(response, expect)
        kept = {"response": response.model_dump(mode="json")}
        if len(to_json(kept)) > MAX_EFFECT_RESULT_BYTES:
            problem = f"the request was carried out, but its answer takes more than {MAX_EFFECT_RESULT_BYTES} bytes"
            return {"failure": problem, "reason": "BODY_TOO_LARGE"}
        return kept

    kept = await ctx.once("request", send, reconcile=(lambda _: NOT_DONE) if repeatable else None)
    if "failure" in kept:
        raise Permanent(kept["failure"], reason=kept["reason"])
    return judged(HttpResponse.model_validate(kept["response"]), expect)


def _unknown(problem: str) -> EffectUnknown:
    return EffectUnknown(f"{problem}: whether the request was carried out is not known")
