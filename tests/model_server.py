"""A server of models that speaks OpenAI's Chat Completions as real ones do, misbehaves as they do, and keeps a bill.

In a test: `async with ModelServer() as server`, then point a client at `server.url`. What it answers: the behaviours in
`server.script`, one for each request; then what `server.rule(request)` gives. As a process of its own:
`python tests/model_server.py --port 9000 --seed 7 --faults 429=0.05,disconnect=0.05`, where `POST /script` takes a list
of behaviours as JSON. `GET /bill` lists every call that was billed, `DELETE /bill` forgets them.

Tokens are counted in a way that anybody can repeat: `tokens_of` a text is a quarter of its UTF-8 bytes, rounded up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from model_answers import (
    FAULTS,
    Behaviour,
    Billed,
    Random,
    Request,
    Told,
    behaviour_of,
    busy,
    instance_of,
    obliging,
    tokens_of,
)


class ModelServer:
    """The server. `concurrent` and `most_concurrent` count requests that are under way; with `max_concurrency` or
    `requests_per_minute` it refuses more with 429, and tells its limits in headers as OpenAI does. `refuses` names
    fields of requests that it answers with 400.
    """

    def __init__(
        self,
        rule: Callable[[Request], Behaviour] = obliging,
        *,
        port: int = 0,
        api_key: str = "",
        max_concurrency: int = 0,
        requests_per_minute: int = 0,
        refuses: Sequence[str] = (),
    ) -> None:
        self.rule = rule
        self.script: deque[Behaviour] = deque()
        self.requests: list[Request] = []
        self.bill: list[Billed] = []
        self.concurrent = self.most_concurrent = 0
        self.refuses = set(refuses)
        self._port = port
        self._api_key = api_key
        self._max_concurrency = max_concurrency
        self._requests_per_minute = requests_per_minute
        self._times: deque[float] = deque()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ModelServer:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, limit=64 * 1024 * 1024)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def idle(self) -> None:
        """Return once no request is under way."""
        async with asyncio.timeout(30):
            while self.concurrent:
                await asyncio.sleep(0.005)

    async def serve(self) -> None:
        """Serve until cancelled."""
        assert self._server is not None
        await self._server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await _read(reader)) is not None:
                await self._answer(request, _Answer(reader, writer))
        except (OSError, asyncio.IncompleteReadError, _HungUp):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, raw: tuple[str, str, dict[str, str], bytes], answer: _Answer) -> None:
        method, path, headers, body = raw
        match method, path:
            case "GET", "/bill":
                await answer.json(200, [asdict(billed) for billed in self.bill])
            case "DELETE", "/bill":
                self.bill.clear()
                await answer.json(200, [])
            case "POST", "/script":
                self.script.extend(behaviour_of(item) for item in json.loads(body))
                await answer.json(200, {"waiting": len(self.script)})
            case "GET", "/v1/models":
                await answer.json(200, {"object": "list", "data": []})
            case "POST", "/v1/chat/completions":
                await self._complete(Request(path, headers, json.loads(body)), answer)
            case _:
                await answer.json(404, {"error": {"message": f"no {method} {path}"}})

    async def _complete(self, request: Request, answer: _Answer) -> None:
        self.requests.append(request)
        refusal = self._refusal(request)
        behaviour = refusal or (self.script.popleft() if self.script else self.rule(request))
        self.concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self.concurrent)
        try:
            if behaviour.first_token_seconds:
                await answer.wait(behaviour.first_token_seconds)
            if behaviour.fault == "connect":
                raise _HungUp
            if behaviour.status != 200:
                headers = {**self._limits(), **behaviour.headers}
                await answer.json(behaviour.status, {"error": dict(behaviour.error)}, headers)
                return
            await self._stream(request, behaviour, answer)
        finally:
            self.concurrent -= 1

    def _refusal(self, request: Request) -> Behaviour | None:
        if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            return Behaviour(status=401, error={"message": "Incorrect API key provided", "code": "invalid_api_key"})
        for name in sorted(self.refuses & request.body.keys()):
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            return Behaviour(status=400, error={"message": message, "param": name, "code": "unsupported_parameter"})
        if self._max_concurrency and self.concurrent >= self._max_concurrency:
            return busy("0")
        if self._requests_per_minute:
            now = time.monotonic()
            while self._times and self._times[0] < now - 60:
                self._times.popleft()
            if len(self._times) >= self._requests_per_minute:
                return busy(str(max(1, round(self._times[0] + 60 - now))))
            self._times.append(now)
        return None

    def _limits(self) -> dict[str, str]:
        if not self._requests_per_minute:
            return {}
        left = max(0, self._requests_per_minute - len(self._times))
        return {
            "x-ratelimit-limit-requests": str(self._requests_per_minute),
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": "1m0s",
        }

    async def _stream(self, request: Request, behaviour: Behaviour, answer: _Answer) -> None:
        if behaviour.fault == "html":
            await answer.start(200, {"content-type": "text/html", **behaviour.headers})
            await answer.chunk("<html><body>Welcome</body></html>")
            await answer.end()
            return
        told = Told(request, behaviour)
        try:
            if not request.body.get("stream"):
                await answer.json(
                    200, told.whole(), {**self._limits(), **behaviour.headers}, before_end=self._book(told)
                )
                return
            headers = {"content-type": "text/event-stream", **self._limits(), **behaviour.headers}
            await answer.start(200, headers)
            for position, piece in enumerate(told.pieces()):
                if position == behaviour.after_chunks:
                    await _misbehave(behaviour.fault, answer)
                await answer.event(piece)
                await asyncio.sleep(behaviour.chunk_seconds)
            if told.count <= behaviour.after_chunks:
                await _misbehave(behaviour.fault, answer)
            told.complete = True
            self._book(told)
            options = request.body.get("stream_options") or {}
            if options.get("include_usage") and behaviour.fault != "no_usage":
                await answer.event({**told.frame(), "choices": [], "usage": told.usage()})
            if behaviour.fault != "no_done":
                await answer.chunk("data: [DONE]\n\n")
            await answer.end()
        finally:
            self._book(told)

    def _book(self, told: Told) -> None:
        """Write down what it costs, once."""
        if not told.booked:
            told.booked = True
            self.bill.append(told.billed())


class _HungUp(Exception):
    """The connection ends here."""


async def _misbehave(fault: str, answer: _Answer) -> None:
    match fault:
        case "disconnect":
            raise _HungUp
        case "malformed":
            await answer.chunk('data: {"id": "chatcmpl-1", "choices": [{"del\n\n')
        case "odd":
            await answer.event({"choices": [{"delta": {"content": {"not": "text"}}}], "usage": "none"})
        case "error_event":
            await answer.event({"error": {"message": "The server had an error", "type": "server_error"}})
            raise _HungUp
        case "stall":
            await answer.hang()


class _Answer:
    """One HTTP/1.1 response."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def wait(self, seconds: float) -> None:
        """Say nothing for so long, unless the client goes away meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.hang()

    async def hang(self) -> None:
        """Say nothing more until the client goes away."""
        await self._reader.read(1)
        raise _HungUp

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        await self._head(status, {**headers, "transfer-encoding": "chunked"})

    async def event(self, data: Mapping[str, Any]) -> None:
        await self.chunk(f"data: {json.dumps(data)}\n\n")

    async def chunk(self, text: str) -> None:
        data = text.encode()
        await self._send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self) -> None:
        await self._send(b"0\r\n\r\n")

    async def json(
        self,
        status: int,
        value: Any,
        headers: Mapping[str, str] | None = None,
        before_end: Callable[[], None] | None = None,
    ) -> None:
        if before_end is not None:
            before_end()
        data = json.dumps(value).encode()
        kind = {"content-type": "application/json", "content-length": str(len(data))}
        await self._head(status, {**kind, **(headers or {})})
        await self._send(data)

    async def _head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        await self._send("\r\n".join([*lines, "", ""]).encode())

    async def _send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise _HungUp
        self._writer.write(data)
        await self._writer.drain()


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes] | None:
    """Method, path, headers (names in lower case) and body of the next request; None at the end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def _main(port: int, seed: int, faults: Mapping[str, float]) -> None:
    async with ModelServer(Random(seed, faults), port=port) as server:
        print(server.url, flush=True)
        await server.serve()


def main() -> None:
    """Serve as a process of its own; prints the base URL once it listens."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    kinds = ", ".join(FAULTS)
    parser.add_argument("--faults", default="", help=f"share of each fault, as in 429=0.1,500=0.05; of {kinds}")
    options = parser.parse_args()
    pairs = [item.partition("=") for item in options.faults.split(",") if item]
    faults = {name: float(share) for name, _, share in pairs}
    if unknown := faults.keys() - set(FAULTS):
        parser.error(f"there are no faults {sorted(unknown)}; there are {kinds}")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(options.port, options.seed, faults))


__all__ = ["Behaviour", "Billed", "ModelServer", "Random", "Request", "busy", "instance_of", "obliging", "tokens_of"]

if __name__ == "__main__":
    main()
