"""The synchronous twin of `waybill.Client`, for scripts, threads, notebooks and web applications.

It has every method of the async client under the same name: each is made from that one, so nothing is said twice.
`sync_client.pyi` says their types; `make docs` renews it.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

from waybill.blocking import Background
from waybill.client import DEFAULT_ADDRESS, Client
from waybill.rpc.caller import DEFAULT_TENANT
from waybill.run import Run
from waybill.sync_run import SyncRun


class SyncClient:
    """A connection to a gateway, for one tenant, whose calls wait. From any number of threads.

    It connects with its first call and is closed by `close`, or as a context manager. The arguments are those of
    `waybill.Client`, and so are the methods: coroutines are ordinary methods here, async iterators ordinary generators,
    and closing a generator ends its stream. Ctrl-C interrupts a call. Where a process forks, each makes its own client.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tenant: str = DEFAULT_TENANT,
        call_timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
    ) -> None:
        options: dict[str, Any] = {"call_timeout_seconds": call_timeout_seconds, "patience_seconds": patience_seconds}
        self._client = Client(address, tenant=tenant, **options)
        self._background = Background(self._client)
        self._finalizer = weakref.finalize(self, self._background.close)

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way, and close the connection. Tasks go on. Again does nothing."""
        self._finalizer()

    def _waited_for(self, value: Any) -> Any:
        """What a method of the async client returned, as its twin returns it."""
        if isinstance(value, Run):
            return SyncRun(self._background, value)
        if inspect.isawaitable(value):
            return self._background.run(value)
        if isinstance(value, AsyncIterator):
            return self._background.iterate(value)
        return value


def plain_words(text: str) -> str:
    """What is said of an async method, said of its twin."""
    return text.replace("async with", "with").replace("async for", "for").replace("await ", "")


def _twin_of(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def twin(self: SyncClient, *args: Any, **options: Any) -> Any:
        return self._waited_for(method(self._client, *args, **options))

    twin.__doc__ = plain_words(method.__doc__ or "")
    twin.__qualname__ = f"SyncClient.{method.__name__}"
    return twin


def _twin_property(name: str, documented: property) -> property:
    return property(lambda self: getattr(self._client, name), doc=documented.__doc__)


for _name, _member in inspect.getmembers(Client):
    if _name.startswith("_") or hasattr(SyncClient, _name):
        continue
    if isinstance(_member, property):
        setattr(SyncClient, _name, _twin_property(_name, _member))
    elif inspect.isfunction(_member):
        setattr(SyncClient, _name, _twin_of(_member))
