"""Asking a model: which one, what instead when it fails or is limited, and what each call costs.

`ModelClient` needs no ledger. It asks a `Meter` before each call to a provider and tells it how the call ended: the
worker's meter is the ledger (`waybill_worker.calls`), and `waybill.models.meter.CappedMeter` is one that keeps to a
sum, as for the planner:

    client = ModelClient(models)
    meter = CappedMeter(cap_microusd=50_000, name=f"{task}/0/{round}")
    reply = await client.chat(ChatRequest((Message("user", goal),)), model=models.planner, meter=meter)

Retries, and calls of other models, are calls of their own. For answers of a certain form see `waybill.chatting`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from waybill.chat import ChatRequest, Reply
from waybill.core.limits import MAX_ARTIFACT_BYTES
from waybill.core.task import Usage
from waybill.models.config import Models
from waybill.models.counting import worst_case
from waybill.models.course import Course, TextSink
from waybill.models.faults import Fault
from waybill.models.meter import BegunCall, CallEnd, CallPlan, Meter, estimated
from waybill.models.pricing import Prices
from waybill.models.wire import Features, output_limit
from waybill.telemetry.logs import get_logger

_log = get_logger(__name__)


class ModelClient:
    """Asks the models that are configured. Importing the libraries for it takes a second: make one at start-up."""

    def __init__(self, models: Models) -> None:
        from waybill.models.provider import Provider

        self.models = models
        self.prices = Prices(models)
        self._providers = {name: Provider(endpoint) for name, endpoint in models.endpoints.items()}
        self._features: dict[str, Features] = {}

    async def close(self) -> None:
        """Close all connections."""
        for provider in self._providers.values():
            await provider.close()

    async def chat(
        self, request: ChatRequest, *, meter: Meter, model: str = "", agent: str = "", text: TextSink | None = None
    ) -> Reply:
        """The answer to a request, by the request's model, else `model`, else that of the agent.

        Raises the errors of `Context.chat`. The reply's usage is that of all calls that were made for it.
        """
        name = self.models.name_for(agent, request.model or model)
        return await Course(self, request, meter, text).run(name)

    def features_of(self, name: str) -> Features:
        """What the server of a model is known to take."""
        return self._features.get(name, Features())

    def learn(self, name: str, features: Features) -> None:
        """The server of a model takes no more than this."""
        self._features[name] = features

    async def make(
        self, name: str, call: BegunCall, body: dict[str, Any], text: TextSink | None
    ) -> tuple[Reply, CallEnd]:
        """Make one call that may be made. Raises Fault."""
        model = self.models.models[name]
        told_text: Callable[[str], None] = text.write if text is not None else _nowhere
        answer = await self._providers[model.endpoint].ask(model, body, call.name, told_text)
        usage = estimated(call.plan.worst) if answer.usage is None else self._priced(name, answer.usage)
        reply = Reply(answer.text, answer.tool_calls, model.model, usage, answer.finish_reason)
        kept = {"text": answer.text, "tool_calls": answer.tool_calls, "refusal": answer.refusal}
        if answer.refusal:
            reply = msgspec.structs.replace(reply, finish_reason="content_filter")
        response = self._kept({**kept, "finish_reason": answer.finish_reason})
        return reply, CallEnd(usage, answer.told, response, accounted=answer.usage is not None)

    def plan(self, name: str, request: ChatRequest, body: dict[str, Any]) -> CallPlan:
        """The call of a model with this body."""
        model = self.models.models[name]
        worst = worst_case(body, output_limit(request, model))
        cost_microusd = self.prices.cost_microusd(name, worst)
        return CallPlan(
            model=model.model,
            endpoint=model.endpoint,
            limits=self.models.endpoints[model.endpoint],
            worst=msgspec.structs.replace(worst, cost_microusd=cost_microusd or 0),
            priced=cost_microusd is not None,
            prompt=self._kept(body),
        )

    def end_of(self, name: str, call: BegunCall, fault: Fault) -> CallEnd:
        """How a call ended that failed."""
        if fault.usage is not None:
            usage = self._priced(name, fault.usage)
        else:
            usage = estimated(call.plan.worst) if fault.maybe_billed else Usage()
        kept = self._kept({"fault": fault.kind, "status": fault.status, "said": fault.said})
        _log.warning("a model call failed", call=call.name, model=name, fault=fault.kind.value, status=fault.status)
        return CallEnd(usage, fault.told, kept, accounted=fault.usage is not None or not fault.maybe_billed)

    def _priced(self, name: str, usage: Usage) -> Usage:
        return msgspec.structs.replace(usage, cost_microusd=self.prices.cost_microusd(name, usage) or 0)

    def _kept(self, value: Any) -> bytes:
        return msgspec.json.encode(value)[:MAX_ARTIFACT_BYTES] if self.models.keep_prompts else b""


def _nowhere(_: str) -> None:
    return
