"""An MCP server for tests, over stdio or streamable HTTP, that misbehaves as it is told.

Every effect is a line of the file given by `--effects`, written before anything can go wrong, so that a test can count
what has really happened. Run it by its path: `python server.py --effects FILE [--http PORT] ...`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

TEXT = {"type": "string"}
TEXTS = {"anyOf": [TEXT, {"type": "array", "items": {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}}]}


class Tools:
    """What the server offers and does."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    def listed(self) -> list[types.Tool]:
        """The tools, or those that the file of names has at this moment."""
        tools = [
            _tool("search", {"query": TEXT}, readOnlyHint=True),
            _tool("pay", {"amount": {"type": "integer"}, "wait": TEXT}, required=["amount"]),
            _tool("send", {"to": TEXTS, "cc": TEXTS, "body": TEXT}, required=["to"]),
            _tool("put", {"key": TEXT, "wait": TEXT}, idempotentHint=True),
            _tool("run", {"command": TEXT}),
            _tool("delete", {"path": TEXT}),
            _tool("fail", {}),
            _tool("reject", {}),
            _tool("huge", {"chars": {"type": "integer"}}),
            _tool("picture", {}),
            _tool("crash", {"when": {"enum": ["before", "after"]}}),
            _tool("slow", {"seconds": {"type": "number"}}),
            _tool("garble", {}),
            _tool("variable", {"name": TEXT}),
            _tool("trace", {}),
            _tool("lookahead", {"word": {"type": "string", "pattern": "^(?=a)(a+)+$"}}),
            _tool("shaped", {}, output={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
        ]
        if not self._options.names:
            return tools
        names = Path(self._options.names).read_text().split()
        return [tool for tool in tools if tool.name in names]

    async def call(self, name: str, arguments: dict[str, Any], meta: Any) -> types.CallToolResult:
        """Do it."""
        if name in ("pay", "send", "put", "run", "delete", "slow", "shaped"):
            self._effect(name, arguments)
        action: Callable[..., Awaitable[types.CallToolResult]] = getattr(self, f"_{name}", self._done)
        return await action(arguments, meta)

    def _effect(self, name: str, arguments: dict[str, Any]) -> None:
        with Path(self._options.effects).open("a") as file:
            file.write(json.dumps([name, arguments]) + "\n")

    async def _done(self, arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        while arguments.get("wait") and not Path(arguments["wait"]).exists():
            await asyncio.sleep(0.02)
        return _text("done")

    async def _search(self, arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        if self._options.texts:
            texts: dict[str, str] = json.loads(Path(self._options.texts).read_text())
            return _text(texts.get(arguments["query"], "nothing"))
        return _text(f"found: {arguments['query']}")

    async def _fail(self, _arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(text="the account is locked")], is_error=True)

    async def _reject(self, _arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        raise MCPError(-32000, "the server is in a bad mood")

    async def _huge(self, arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        return _text("x" * arguments["chars"])

    async def _picture(self, _arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        data = base64.b64encode(b"0" * 3_000).decode()
        return types.CallToolResult(
            content=[
                types.ImageContent(data=data, mime_type="image/png"),
                types.ResourceLink(uri="https://example.org/report", name="report"),
                types.TextContent(text="a picture"),
            ]
        )

    async def _crash(self, arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        if arguments.get("when") == "after":
            self._effect("crash", arguments)
        os._exit(9)

    async def _slow(self, arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        await asyncio.sleep(arguments["seconds"])
        return _text("at last")

    async def _garble(self, _arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        if self._options.wire is not None:
            os.write(self._options.wire, b"{ this is no JSON\n")
        return _text("said after the noise")

    async def _variable(self, arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        return _text(f"{arguments['name']}={os.environ.get(arguments['name'])}")

    async def _trace(self, _arguments: dict[str, Any], meta: Any) -> types.CallToolResult:
        return _text(str(dict(meta or {}).get("traceparent")))

    async def _shaped(self, _arguments: dict[str, Any], _meta: Any) -> types.CallToolResult:
        return types.CallToolResult(content=[], structured_content={"n": "not a number"})


def _tool(name: str, properties: dict[str, Any], required: list[str] | None = None, **rest: Any) -> types.Tool:
    output = rest.pop("output", None)
    return types.Tool(
        name=name,
        description=f"Does {name}.",
        input_schema={"type": "object", "properties": properties, "required": required or []},
        output_schema=output,
        annotations=types.ToolAnnotations.model_validate(rest) if rest else None,
    )


def _text(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)])


def build(options: argparse.Namespace) -> Server[Any]:
    """The server."""
    tools = Tools(options)

    async def list_tools(_context: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        listed = tools.listed()
        size = options.page_size or len(listed)
        start = int(params.cursor) if params and params.cursor else 0
        if options.endless:
            return types.ListToolsResult(tools=listed[:1], next_cursor=str(start + 1))
        more = str(start + size) if start + size < len(listed) else None
        return types.ListToolsResult(tools=listed[start : start + size], next_cursor=more)

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        return await tools.call(params.name, params.arguments or {}, context.meta)

    return Server("test", on_list_tools=list_tools, on_call_tool=call_tool)


async def over_stdio(server: Server[Any], options: argparse.Namespace) -> None:
    """Serve one client."""
    options.wire = os.dup(1)
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--effects", required=True)
    parser.add_argument("--http", type=int, default=0, help="port; without it stdio")
    parser.add_argument("--token", default="", help="what the Authorization header must be, over HTTP")
    parser.add_argument("--json", action="store_true", help="answer with JSON instead of a stream, over HTTP")
    parser.add_argument("--legacy", action="store_true", help="know the handshake of 2025 alone, over HTTP")
    parser.add_argument("--names", default="", help="file with the names of the tools that are listed")
    parser.add_argument("--texts", default="", help="JSON file with what `search` finds, by query")
    parser.add_argument("--page-size", type=int, default=0)
    parser.add_argument("--endless", action="store_true", help="pages of tools never end")
    parser.add_argument("--pids", default="", help="file that gets the ids of the server and of a child of its own")
    parser.add_argument("--mute", action="store_true", help="never say a word")
    parser.add_argument("--stubborn", action="store_true", help="end neither when stdin ends nor when told")
    parser.set_defaults(wire=None)
    return parser.parse_args()


def main() -> None:
    """Serve as the options say."""
    options = parse()
    if options.pids:
        child = subprocess.Popen(["sleep", "600"])
        with Path(options.pids).open("a") as file:
            file.write(f"{os.getpid()} {child.pid}\n")
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.mute:
        while sys.stdin.readline() or options.stubborn:
            time.sleep(0.05)
        return
    server = build(options)
    if options.http:
        over_http(server, options)
        return
    asyncio.run(over_stdio(server, options))
    while options.stubborn:
        time.sleep(1)


def over_http(server: Server[Any], options: argparse.Namespace) -> None:
    """Serve any number of clients on a port of the loopback."""
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse

    app: Any = server.streamable_http_app(json_response=options.json)

    async def refused(request: Request, send: Any) -> bool:
        """Whether the request was answered here, as by servers of the time before `server/discover`."""
        body = await request.body()
        if not (options.legacy and request.method == "POST" and b'"server/discover"' in body):
            return False
        error = {"jsonrpc": "2.0", "id": json.loads(body)["id"], "error": {"code": -32601, "message": "what?"}}
        await JSONResponse(error)(request.scope, request.receive, send)
        return True

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and options.token and Request(scope).headers.get("authorization") != options.token:
            await PlainTextResponse("who are you?", status_code=401)(scope, receive, send)
            return
        if scope["type"] == "http":
            request = Request(scope, receive)
            if await refused(request, send):
                return
            body = await request.body()
            given = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def again() -> Any:
                return next(given, None) or await receive()

            await app(scope, again, send)
            return
        await app(scope, receive, send)

    uvicorn.run(guarded, host="127.0.0.1", port=options.http, log_level="error")


if __name__ == "__main__":
    main()
