"""A watcher over HTTP, as a browser's EventSource does it: reads until the stream breaks, waits a little, and goes on
with the last id that it saw, at the next gateway."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import httpx_sse

from waybill.rpc.caller import TENANT_KEY

CONNECT_SECONDS = 3.0
SILENCE_SECONDS = 20.0
"""Longer than the gateway's pings are apart: a stream that is silent for so long is dead."""
RETRY_SECONDS = 0.3


async def browse(gateways: Sequence[str], task: str, tenant: str) -> AsyncIterator[dict[str, Any]]:
    """The task's events as JSON, up to the terminal one, and resets, which have no id.

    Raises httpx.HTTPStatusError for a refusal.
    """
    last_id = ""
    timeout = httpx.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS)
    # Nothing here is encrypted, and reading the certificates of the world would hold the loop for a while.
    async with httpx.AsyncClient(timeout=timeout, verify=False) as client:
        for gateway in itertools.cycle(gateways):
            headers = {TENANT_KEY: tenant} | ({"Last-Event-ID": last_id} if last_id else {})
            try:
                async with httpx_sse.aconnect_sse(
                    client, "GET", f"{gateway}/v1/{task}/events", headers=headers
                ) as source:
                    if source.response.status_code == httpx.codes.NO_CONTENT:
                        return
                    if source.response.status_code not in _PASSING:
                        source.response.raise_for_status()
                        async for event in source.aiter_sse():
                            if event.event == "stream_reset":
                                yield json.loads(event.data)
                            elif event.id != last_id and event.event != "watch_failed":
                                last_id = event.id
                                yield json.loads(event.data)
            except httpx.TransportError:
                pass
            await asyncio.sleep(RETRY_SECONDS)


_PASSING = (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)
