"""Calling the ledger's functions: the connections, the library, and one call. What to call is for heirs to say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from waybill.errors import WaybillError
from waybill.ledger import keys
from waybill.ledger.connection import NO_REPLICAS, Part, Replicas, Store
from waybill.ledger.library import FUNCTIONS, library
from waybill.ledger.reads import Reads
from waybill.ledger.replies import check_version, is_missing_function
from waybill.telemetry import conventions, tracing

_LEASES = [name for name in FUNCTIONS if name.startswith("lease_")]
_QUIET = frozenset([*_LEASES, "tick", "expire", "renew", "mark_archived", "set_policy"])
"""Functions that bring no work in."""


class Calls(Reads):
    """One partition of the ledger.

    `clock_ms` replaces the server's clock in every call, for tests. `replicas` must have a task before it counts as
    accepted. Connects on first use; `connect` checks early.
    """

    def __init__(self, url: str, *, partition: str = "0", clock_ms: int = 0, replicas: Replicas = NO_REPLICAS) -> None:
        super().__init__(Store(url, partition=partition), partition)
        self.clock_ms = clock_ms
        self._replicas = replicas
        self._functions = library()
        self._prefix = keys.prefix(partition)
        self.acted = asyncio.Event()
        """Set by every call that may have brought work in, for whoever waits for that. It is never cleared here."""
        self._names = {name: self._functions.function(name).encode() for name in FUNCTIONS}

    async def connect(self) -> None:
        """Check the server's version and load the functions. Raises Unavailable or FailedPrecondition."""
        check_version(await self._store.command("INFO", "server"))
        await self._load_functions()

    async def close(self) -> None:
        """Close every connection."""
        await self._store.close()

    async def ping(self) -> None:
        """Raises Unavailable if the store does not answer."""
        await self._store.command("PING", urgent=True)

    async def _load_functions(self) -> None:
        # A full store refuses to load what it has: who comes up then must find its functions by asking.
        if await self._store.command("FUNCTION", "LIST", "LIBRARYNAME", self._functions.name):
            return
        try:
            await self._store.command("FUNCTION", "LOAD", self._functions.source)
        except WaybillError as error:
            if "already exists" not in str(error.__cause__):
                raise

    def _command(self, function: str, arguments: Sequence[Part]) -> list[Part]:
        if function not in _QUIET:
            self.acted.set()
        return ["FCALL", self._names[function], 1, self._prefix, self.clock_ms, *arguments]

    async def _call(self, function: str, *arguments: Part, urgent: bool = False) -> Any:
        command = self._command(function, arguments)
        if tracing.recorded() is not None:
            with tracing.span(conventions.FUNCTION, function, attributes={conventions.DB_FUNCTION: function}):
                return await self._loaded(command, urgent)
        return await self._loaded(command, urgent)

    async def _loaded(self, command: Sequence[Part], urgent: bool) -> Any:
        try:
            return await self._store.command(*command, urgent=urgent)
        except WaybillError as error:
            if not is_missing_function(error):
                raise
        await self._load_functions()
        return await self._store.command(*command, urgent=urgent)
