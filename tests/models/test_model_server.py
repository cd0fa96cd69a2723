"""The server of models itself: its protocol as the library knows it, its bill, and its life as a process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from model_server import Behaviour, ModelServer, Random, obliging

SERVER = Path(__file__).parents[1] / "model_server.py"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def library(server: ModelServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The openai library, pointed at the server."""
    client = openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0)
    yield client
    await client.close()


async def test_given_no_stream_when_asked_then_the_answer_is_one_object(
    server: ModelServer, library: openai.AsyncOpenAI
) -> None:
    server.script.append(Behaviour(text="hi", tool_calls=(("look", "{}"),), reasoning_tokens=3))

    answer = await library.chat.completions.create(model="m", messages=HELLO)

    assert answer.choices[0].message.content == "hi"
    assert answer.choices[0].message.tool_calls is not None
    assert answer.usage is not None
    (billed,) = server.bill
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        billed.prompt_tokens, billed.completion_tokens,
    )  # fmt: skip


@pytest.mark.parametrize(("limit", "text"), [(1, "word"), (2, "word wor"), (100, "word word word")])
async def test_given_a_limit_of_tokens_when_asked_then_the_answer_keeps_to_it(
    server: ModelServer, library: openai.AsyncOpenAI, limit: int, text: str
) -> None:
    server.script.append(Behaviour(text="word word word"))

    answer = await library.chat.completions.create(model="m", messages=HELLO, max_completion_tokens=limit)

    assert answer.choices[0].message.content == text
    assert answer.choices[0].finish_reason == ("stop" if limit == 100 else "length")
    assert server.bill[0].completion_tokens <= limit


async def test_given_a_wrong_key_when_asked_then_it_is_refused_and_not_billed() -> None:
    async with ModelServer(api_key="right") as server:
        client = openai.AsyncOpenAI(base_url=server.url, api_key="wrong", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="m", messages=HELLO)
        await client.close()

        assert not server.bill


async def test_given_a_rate_when_asked_too_often_then_it_says_when_to_come_again() -> None:
    async with ModelServer(requests_per_minute=2) as server:
        client = openai.AsyncOpenAI(base_url=server.url, api_key="x", max_retries=0)
        raw = await client.chat.completions.with_raw_response.create(model="m", messages=HELLO)
        await client.chat.completions.create(model="m", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(model="m", messages=HELLO)
        await client.close()

    assert raw.headers["x-ratelimit-remaining-requests"] == "1"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60


def test_given_a_seed_when_faults_are_drawn_then_they_are_the_same_each_time() -> None:
    faults = {"429": 0.2, "disconnect": 0.3, "500": 0.1}

    def drawn(seed: int) -> list[Behaviour]:
        from model_answers import Request

        request = Request("", {}, {"model": "m", "messages": HELLO})
        rule = Random(seed, faults, obliging)
        return [rule(request) for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.fixture
def process() -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    command = [sys.executable, str(SERVER), "--seed", "3", "--faults", "429=0.0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
        running.kill()


async def test_given_a_process_when_it_is_scripted_then_it_answers_and_bills_over_http(process: str) -> None:
    base = process.removesuffix("/v1")
    script = [{"text": "as told", "cached_tokens": 1}, {"status": 503, "error": {"message": "busy"}}]
    async with httpx.AsyncClient() as http:
        assert (await http.post(f"{base}/script", json=script)).json() == {"waiting": 2}
        client = openai.AsyncOpenAI(base_url=process, api_key="x", max_retries=0)
        answer = await client.chat.completions.create(
            model="m", messages=HELLO, extra_headers={"X-Waybill-Call": "t/1/1/1"}
        )
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", messages=HELLO)
        await client.close()
        bill = (await http.get(f"{base}/bill")).json()
        await http.delete(f"{base}/bill")
        emptied = (await http.get(f"{base}/bill")).json()

    assert answer.choices[0].message.content == "as told"
    assert [(billed["call"], billed["cached_tokens"]) for billed in bill] == [("t/1/1/1", 1)]
    assert emptied == []


async def test_given_unknown_faults_when_started_then_it_says_which_there_are() -> None:
    started = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), "--faults", "flood=1", stderr=asyncio.subprocess.PIPE
    )
    _, told = await started.communicate()

    assert started.returncode == 2
    assert b"disconnect" in told


async def test_given_tools_when_asked_then_each_is_called_once_with_arguments_that_fit(
    server: ModelServer, library: openai.AsyncOpenAI
) -> None:
    parameters = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    tools: Any = [{"type": "function", "function": {"name": "send", "parameters": parameters}}]
    said: list[Any] = list(HELLO)

    first = (await library.chat.completions.create(model="m", messages=said, tools=tools)).choices[0].message
    assert first.tool_calls is not None
    (call,) = first.tool_calls
    said += [first.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "sent"}]
    second = (await library.chat.completions.create(model="m", messages=said, tools=tools)).choices[0].message

    assert json.loads(call.function.arguments) == {"to": "text"}  # type: ignore[union-attr]
    assert (second.tool_calls, second.content) == (None, "You said: sent")
