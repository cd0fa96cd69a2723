"""A Sentinel made up on the spot: it names one master, whatever it is asked, and has never seen a failover."""

from __future__ import annotations

import asyncio

from free_ports import HOST


def answer(port: int, host: str = HOST) -> bytes:
    """What it says of the master: its configuration, then its address."""
    return _array("config-epoch", "0") + _array(host, str(port))


def _array(*texts: str) -> bytes:
    return f"*{len(texts)}\r\n".encode() + b"".join(f"${len(text)}\r\n{text}\r\n".encode() for text in texts)


async def answer_always(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes) -> None:
    """Say the same to everything, until the other side hangs up."""
    while await reader.read(65536):
        writer.write(said)
    writer.close()
