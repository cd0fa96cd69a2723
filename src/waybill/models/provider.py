"""One endpoint: a call is made once, streamed, timed, and every way in which it can fail is told apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from waybill.chat import ToolCall
from waybill.core.task import Usage
from waybill.errors import WaybillError
from waybill.models.config import Endpoint, Model
from waybill.models.faults import Fault, FaultKind, fault_of_status
from waybill.models.stream import Joined, Malformed, decoded
from waybill.models.told import Told, told_in

CONNECT_SECONDS = 10.0
CALL_HEADER = "X-Waybill-Call"
"""Names the call to the provider: task, step number, attempt and call, so that its bill can be matched."""
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call brought. `usage` is the provider's account in tokens, None if it gave none."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    refusal: str
    usage: Usage | None
    told: Told


class Provider:
    """The client of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key.get_secret_value() or "none",
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def ask(self, model: Model, body: dict[str, Any], call: str, on_text: Callable[[str], None]) -> Answer:
        """Make one call, named `call`; `on_text` gets its text as it comes. Raises Fault."""
        joined, told, stream = Joined(), Told(), None
        try:
            async with asyncio.timeout(model.timeout_seconds):
                async with asyncio.timeout(model.first_token_timeout_seconds):
                    raw = await self._client.chat.completions.with_raw_response.create(
                        **body, extra_headers={CALL_HEADER: call} if call else {}
                    )
                    told = told_in(raw.headers)
                    stream = raw.parse()
                    chunks = aiter(stream)
                    chunk = await anext(chunks, None)
                while chunk is not None:
                    on_text(joined.add(decoded(chunk)))
                    chunk = await anext(chunks, None)
        except WaybillError:
            raise  # of whoever takes the text
        except Exception as error:
            # Once the model has said why it ends the answer is whole, whatever became of its account.
            if not joined.finish_reason:
                raise _fault(error, joined, told) from error
        finally:
            if stream is not None:
                await stream.close()
        return _whole(joined, told)


def _whole(joined: Joined, told: Told) -> Answer:
    if not joined.finish_reason:
        begun = joined.text or joined.tool_calls or joined.usage
        kind, what = (FaultKind.BROKEN, "ended") if begun else (FaultKind.MALFORMED, "has sent no answer")
        message = f"{what} before its answer was whole" if begun else what
        raise Fault(kind, message, maybe_billed=True, told=told, usage=joined.usage)
    return Answer(joined.text, joined.tool_calls, joined.finish_reason, joined.refusal, joined.usage, told)


def _fault(error: Exception, joined: Joined, told: Told) -> Fault:
    """The fault that an error of the library, or of what came, stands for."""
    usage = joined.usage
    match error:
        case openai.APIStatusError():
            return fault_of_status(error.status_code, error.response.headers, error.body)
        case openai.APITimeoutError() | openai.APIConnectionError():
            if isinstance(error.__cause__, _UNSENT):
                return Fault(FaultKind.CONNECT, "cannot be reached")
            return Fault(FaultKind.BROKEN, "ended the connection", maybe_billed=True, told=told, usage=usage)
        case TimeoutError():
            what = "took too long to end its answer" if joined.text else "took too long to begin its answer"
            return Fault(FaultKind.TIMEOUT, what, maybe_billed=True, told=told, usage=usage)
        case openai.APIError():
            said = str(error.body or "")
            message = "reported an error in its answer"
            return Fault(FaultKind.SERVER, message, maybe_billed=True, told=told, usage=usage, said=said)
        case json.JSONDecodeError() | UnicodeDecodeError():
            return Fault(FaultKind.MALFORMED, "sent what is not JSON", maybe_billed=True, told=told, usage=usage)
        case Malformed():
            message = "sent what is not the protocol"
            return Fault(FaultKind.MALFORMED, message, maybe_billed=True, told=told, usage=usage, said=str(error))
        case _:
            # What the library makes of odd answers are errors of any type.
            message = f"sent what cannot be read ({type(error).__name__})"
            return Fault(FaultKind.MALFORMED, message, maybe_billed=True, told=told, usage=usage)
