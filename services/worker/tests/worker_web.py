"""A web server on loopback that answers as a test says, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

Answering = Callable[["Asked"], bytes]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `server_name` is what TLS asked for, `address` where the connection arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    address: str
    server_name: str | None = None


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a response."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass
class Web:
    """The server. `answering` gives the bytes for a request; None of them hangs up without an answer."""

    answering: Answering = lambda asked: answer(200, b"hello", content_type="text/plain")
    hosts: tuple[str, ...] = ("127.0.0.1",)
    tls: ssl.SSLContext | None = None
    hangs: bool = False
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> Web:
        self._names: dict[ssl.SSLObject, str] = {}
        if self.tls is not None:
            self.tls.sni_callback = lambda wrapped, name, _: self._names.update({wrapped: name})  # type: ignore[assignment, misc]
        self._servers = []
        for host in self.hosts:
            server = await asyncio.start_server(self._serve, host, self.port, ssl=self.tls)
            self._servers.append(server)
            self.port = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    def url(self, path: str = "/", host: str = "") -> str:
        """The URL of a path."""
        return f"http{'s' if self.tls else ''}://{host or self.hosts[0]}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = first.split(" ")
            wrapped = writer.get_extra_info("ssl_object")
            address = writer.get_extra_info("sockname")[0]
            self.asked.append(Asked(method, target, headers, body, address, self._names.get(wrapped)))
            if self.hangs:
                await reader.read()
            writer.write(self.answering(self.asked[-1]))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()
