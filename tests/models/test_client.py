"""Asking models over HTTP: what is asked, every fault of a provider, what instead, and what it comes to."""

from __future__ import annotations

import asyncio
import json
from email.utils import formatdate
from typing import Any

import pytest
from model_server import Behaviour, ModelServer, Request, busy, obliging
from prometheus_client import REGISTRY

from waybill.chat import ChatRequest, Message, Reply, Tool, ToolCall
from waybill.core.task import Usage
from waybill.errors import AgentError, BudgetExhausted, Permanent
from waybill.models.client import ModelClient
from waybill.models.meter import BegunCall, CallPlan, CappedMeter, OverBudget

HELLO = ChatRequest((Message("user", "hello"),))
FAULTS = {
    "too many requests": busy("0"),
    "too many requests, by date": busy(formatdate(usegmt=True)),
    "server error": Behaviour(status=500),
    "overloaded": Behaviour(status=529, error={"message": "overloaded"}),
    "not even an error": Behaviour(status=502, error={}),
    "no answer": Behaviour(fault="connect"),
    "disconnect": Behaviour(text="hello there world", fault="disconnect", after_chunks=2),
    "malformed": Behaviour(text="hello there", fault="malformed"),
    "odd": Behaviour(text="hello there", fault="odd"),
    "error in the stream": Behaviour(text="hello there", fault="error_event"),
    "a page": Behaviour(text="hello", fault="html"),
    "slow first token": Behaviour(text="hello", first_token_seconds=30),
    "stall": Behaviour(text="hello", fault="stall"),
}
BILLED = {name for name, behaviour in FAULTS.items() if behaviour.status == 200}
every_fault = pytest.mark.parametrize("fault", FAULTS)


def timeouts_for(fault: str) -> dict[str, float]:
    """Short ones for the faults that only they find."""
    waits = fault in ("slow first token", "stall")
    return {"first_token_timeout_seconds": 1.0, "timeout_seconds": 2.0} if waits else {}


class Sink:
    """Keeps the text that is not taken back."""

    def __init__(self) -> None:
        self.text = ""
        self.restarts = 0

    def write(self, text: str) -> None:
        self.text += text

    def restart(self) -> None:
        self.text = ""
        self.restarts += 1


def cost(server: ModelServer) -> int:
    """What the bill of a server comes to, at the prices of the fixture."""
    return sum(2 * billed.prompt_tokens + 8 * billed.completion_tokens for billed in server.bill)


async def ask(client: ModelClient, request: ChatRequest = HELLO, **options: Any) -> tuple[Reply, CappedMeter]:
    meter = options.pop("meter", CappedMeter())
    return await client.chat(request, meter=meter, **options), meter


async def test_given_an_answer_when_asked_then_its_text_streams_and_its_account_is_priced(
    server: ModelServer, client_of: Any
) -> None:
    sink = Sink()
    server.script.append(Behaviour(text="hello there, wörld", cached_tokens=2, reasoning_tokens=5))

    reply, meter = await ask(client_of(a=server), text=sink, meter=CappedMeter(name="task/1/1"))

    (billed,) = server.bill
    assert (reply.text, reply.finish_reason, reply.model, sink.text) == (
        "hello there, wörld", "stop", "model-a", "hello there, wörld",
    )  # fmt: skip
    assert reply.usage == meter.usage == Usage(
        billed.prompt_tokens, billed.completion_tokens, cost(server), cached_input_tokens=2, reasoning_tokens=5
    )  # fmt: skip
    assert billed.call == "task/1/1/1"


async def test_given_a_conversation_with_tools_when_asked_then_it_goes_out_whole_and_calls_are_joined(
    server: ModelServer, client_of: Any
) -> None:
    tool = Tool("look", "Look", {"type": "object", "properties": {"at": {"type": "string"}}})
    said = (
        Message("system", "be \ud800 good"),
        Message("user", "look"),
        Message("assistant", "", (ToolCall("7", "look", '{"at": 1}'),)),
        Message("tool", "nothing", tool_call_id="7"),
    )
    server.script.append(Behaviour(text="so", tool_calls=(("look", '{"at": "the sky above"}'), ("look", "not JSON"))))

    reply, _ = await ask(client_of(a=server), ChatRequest(said, tools=(tool,), max_output_tokens=50, temperature=0.5))

    assert [(call.name, call.arguments) for call in reply.tool_calls] == [
        ("look", '{"at": "the sky above"}'), ("look", "not JSON"),
    ]  # fmt: skip
    assert len({call.id for call in reply.tool_calls}) == 2
    body = server.requests[0].body
    assert (body["max_completion_tokens"], body["temperature"]) == (50, 0.5)
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": 1}'}
    assert body["tools"][0]["function"]["parameters"] == tool.parameters


@every_fault
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_given_a_fault_when_asked_then_another_call_answers_and_what_it_cost_is_counted(
    server: ModelServer, client_of: Any, fault: str, elsewhere: bool
) -> None:
    async with ModelServer() as other:
        options = {"a": {**timeouts_for(fault), "fallbacks": ("b",) if elsewhere else ()}}
        client, sink = client_of(a=server, b=other, options=options), Sink()
        server.script.append(FAULTS[fault])

        reply, meter = await ask(client, text=sink)

        assert reply.text == sink.text == "You said: hello"
        assert len(server.requests) == (1 if elsewhere else 2)
        assert [call.number for call, _ in meter.ended] == [1, 2]
        lost, answered = (end.usage for _, end in meter.ended)
        assert reply.usage == lost + answered
        assert answered.estimated_microusd == 0
        assert lost.estimated_microusd == lost.cost_microusd == (
            meter.ended[0][0].plan.worst.cost_microusd if fault in BILLED else 0
        )  # fmt: skip
        await server.idle()
        assert lost.cost_microusd >= cost(server) - (0 if elsewhere else answered.cost_microusd)


@every_fault
async def test_given_a_fault_that_stays_when_asked_then_the_error_says_what_it_was(
    server: ModelServer, client_of: Any, fault: str
) -> None:
    server.rule = lambda _: FAULTS[fault]

    with pytest.raises(AgentError) as failed:
        await ask(client_of(a=server, options={"a": timeouts_for(fault)}))

    assert failed.value.reason == "MODEL_UNAVAILABLE"
    assert not isinstance(failed.value, Permanent)
    assert len(server.requests) == 3


async def test_given_no_server_when_asked_then_nothing_is_billed(client_of: Any) -> None:
    async with ModelServer() as gone:
        client = client_of(a=gone)
    meter = CappedMeter()

    with pytest.raises(AgentError, match="cannot be reached"):
        await ask(client, meter=meter)

    assert meter.usage == Usage()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_given_a_refusal_when_asked_then_it_is_not_repeated_and_says_nothing_of_what_was_asked(
    server: ModelServer, client_of: Any, status: int
) -> None:
    secret = "my-secret-prompt"
    server.rule = lambda request: Behaviour(status=status, error={"message": request.last, "code": "bad_thing"})

    with pytest.raises(Permanent, match=f"status {status}, code bad_thing") as failed:
        await ask(client_of(a=server), ChatRequest((Message("user", secret),)))

    assert (failed.value.reason, len(server.requests)) == ("MODEL_REFUSED", 1)
    assert secret not in str(failed.value)


async def test_given_a_refusal_when_there_is_a_fallback_then_it_answers(server: ModelServer, client_of: Any) -> None:
    async with ModelServer() as other:
        server.rule = lambda _: Behaviour(status=404, error={"code": "model_not_found"})

        reply, _ = await ask(client_of(a=server, b=other, options={"a": {"fallbacks": ("b",)}}))

        assert (reply.model, len(server.requests)) == ("model-b", 1)


async def test_given_no_more_credit_when_asked_then_it_is_not_asked_again(server: ModelServer, client_of: Any) -> None:
    server.rule = lambda _: Behaviour(status=429, error={"code": "insufficient_quota"})

    with pytest.raises(Permanent, match="credit"):
        await ask(client_of(a=server))

    assert len(server.requests) == 1


async def test_given_a_long_retry_after_when_asked_then_the_attempt_ends_and_says_how_long_to_wait(
    server: ModelServer, client_of: Any
) -> None:
    server.rule = lambda _: busy("600", **{"x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": "6m0s"})
    meter = CappedMeter()

    with pytest.raises(AgentError) as failed:
        await ask(client_of(a=server), meter=meter)

    assert (failed.value.reason, failed.value.retry_after_seconds) == ("MODEL_UNAVAILABLE", 600)
    told = meter.ended[0][1].told
    assert (told.throttled, told.retry_after_ms, told.requests_per_minute, told.reset_requests_ms) == (
        True, 600_000, 60, 360_000,
    )  # fmt: skip


@pytest.mark.parametrize("fault", ["no_usage", "disconnect", "malformed", "error_event"])
async def test_given_no_account_when_asked_then_the_answer_counts_at_its_worst(
    server: ModelServer, client_of: Any, fault: str
) -> None:
    server.script.append(Behaviour(text="hello", fault=fault, after_chunks=3))

    reply, meter = await ask(client_of(a=server))

    worst = meter.ended[0][0].plan.worst
    assert reply.text == "hello"
    assert reply.usage.cost_microusd == reply.usage.estimated_microusd == worst.cost_microusd >= cost(server)


async def test_given_an_account_before_the_connection_ends_when_asked_then_it_counts(
    server: ModelServer, client_of: Any
) -> None:
    server.script.append(Behaviour(text="hello", fault="no_done"))

    reply, _ = await ask(client_of(a=server))

    assert (reply.usage.cost_microusd, reply.usage.estimated_microusd) == (cost(server), 0)


async def test_given_an_answer_that_is_cut_when_asked_then_the_error_says_so_and_it_is_counted(
    server: ModelServer, client_of: Any
) -> None:
    server.rule = lambda _: Behaviour(text="word " * 100)
    meter = CappedMeter()

    with pytest.raises(AgentError) as failed:
        await ask(client_of(a=server), ChatRequest(HELLO.messages, max_output_tokens=3), meter=meter)

    assert (failed.value.reason, meter.usage.cost_microusd) == ("MODEL_OUTPUT_CUT", cost(server))


@pytest.mark.parametrize("how", [Behaviour(refusal="I cannot"), Behaviour(text="I", finish_reason="content_filter")])
async def test_given_a_model_that_declines_when_asked_then_no_repetition_follows(
    server: ModelServer, client_of: Any, how: Behaviour
) -> None:
    server.rule = lambda _: how

    with pytest.raises(Permanent) as failed:
        await ask(client_of(a=server))

    assert (failed.value.reason, len(server.requests)) == ("MODEL_REFUSED", 1)


SCHEMA = b'{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}'


@pytest.mark.parametrize(
    ("refused", "left"),
    [
        ("response_format", "schema in the prompt"),
        ("stream_options", "no account"),
        ("max_completion_tokens", "max_tokens"),
        ("temperature", "no temperature"),
    ],
)
async def test_given_a_server_that_refuses_a_field_when_asked_then_it_is_asked_without_from_then_on(
    client_of: Any, refused: str, left: str
) -> None:
    request = ChatRequest(HELLO.messages, schema=SCHEMA, strict=True, temperature=0.1)

    async with ModelServer(refuses=[refused]) as picky:
        client = client_of(a=picky)
        await ask(client, request)
        first = len(picky.requests)
        await ask(client, request)

        assert len(picky.requests) == first + 1
        body = picky.requests[-1].body
        assert refused not in body
        assert ("max_tokens" in body) == (left == "max_tokens")
        assert (SCHEMA.decode() in body["messages"][0]["content"]) == (left == "schema in the prompt")


async def test_given_a_strict_schema_that_is_refused_when_asked_then_the_schema_is_still_sent(
    server: ModelServer, client_of: Any
) -> None:
    def rule(request: Request) -> Behaviour:
        strict = request.body["response_format"]["json_schema"]["strict"]
        error = {"message": "Invalid schema for response_format 'answer'", "code": "invalid_schema"}
        return Behaviour(status=400, error=error) if strict else obliging(request)

    server.rule = rule

    reply, _ = await ask(client_of(a=server), ChatRequest(HELLO.messages, schema=SCHEMA, strict=True))

    assert json.loads(reply.text) == {"a": 1}
    assert [request.body["response_format"]["json_schema"]["strict"] for request in server.requests] == [True, False]


async def test_given_a_cap_when_a_call_might_cross_it_then_it_is_not_made(server: ModelServer, client_of: Any) -> None:
    client = client_of(a=server)
    _, meter = await ask(client, meter=CappedMeter(cap_microusd=20_000))
    meter.cap_microusd = meter.usage.cost_microusd + meter.ended[0][0].plan.worst.cost_microusd - 1

    with pytest.raises(BudgetExhausted):
        await ask(client, meter=meter)

    assert len(server.requests) == 1


async def test_given_parallel_calls_under_one_cap_when_made_then_they_never_cost_more_together(
    server: ModelServer, client_of: Any
) -> None:
    client = client_of(a=server)
    _, first = await ask(client)
    worst = first.ended[0][0].plan.worst.cost_microusd
    meter = CappedMeter(cap_microusd=5 * worst)

    results = await asyncio.gather(*(ask(client, meter=meter) for _ in range(20)), return_exceptions=True)

    assert sum(not isinstance(result, BaseException) for result in results) >= 5
    assert meter.usage.cost_microusd <= meter.cap_microusd


class Strict(CappedMeter):
    """Refuses the models it is told to, in favour of cheaper ones."""

    __slots__ = ("refused",)

    async def begin(self, plan: CallPlan, *, patient: bool) -> BegunCall:
        if plan.model in self.refused:
            raise OverBudget("tenant", 5, cheaper=True)
        return await super().begin(plan, patient=patient)


@pytest.mark.parametrize(("refused", "model"), [((), "a"), (("a",), "b"), (("a", "b"), "c"), (("a", "b", "c"), None)])
async def test_given_a_policy_of_cheaper_models_when_the_budget_says_no_then_the_next_cheaper_one_is_asked(
    server: ModelServer, client_of: Any, refused: tuple[str, ...], model: str | None
) -> None:
    client = client_of(a=server, b=server, c=server, options={"a": {"cheaper": "b"}, "b": {"cheaper": "c"}})
    meter = Strict()
    meter.refused = [f"model-{name}" for name in refused]

    if model is None:
        with pytest.raises(BudgetExhausted):
            await ask(client, meter=meter)
    else:
        reply, _ = await ask(client, meter=meter)
        assert reply.model == f"model-{model}"


async def test_given_a_call_under_way_when_it_is_cancelled_then_it_counts_at_its_worst(
    server: ModelServer, client_of: Any
) -> None:
    server.script.append(Behaviour(text="hello", fault="stall"))
    meter = CappedMeter()
    asking = asyncio.create_task(ask(client_of(a=server), meter=meter))
    while not server.requests:
        await asyncio.sleep(0.01)

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await server.idle()

    ((call, end),) = meter.ended
    assert end.usage.estimated_microusd == call.plan.worst.cost_microusd >= cost(server)


async def test_given_prompts_that_are_kept_when_asked_then_the_meter_gets_them_and_else_nothing(
    server: ModelServer, client_of: Any
) -> None:
    for keep in (True, False):
        _, meter = await ask(client_of(a=server, keep_prompts=keep))
        ((call, end),) = meter.ended
        assert (b"hello" in call.plan.prompt, b"You said" in end.response) == (keep, keep)


async def test_given_calls_when_they_end_then_the_metrics_tell_how_and_what_they_cost(
    server: ModelServer, client_of: Any
) -> None:
    def counted(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"model": "metered", **labels}) or 0.0

    server.script.append(busy("0"))

    await ask(client_of(metered=server))

    assert counted("waybill_model_calls_total", outcome="limited") == 1
    assert counted("waybill_model_calls_total", outcome="answered") == 1
    assert counted("waybill_model_tokens_total", kind="input") == server.bill[0].prompt_tokens
    assert counted("waybill_model_cost_microusd_total") == cost(server)
