"""The context of an attempt that runs inside the worker, or of one whose process reports back to the worker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, TypeVar

from waybill.adding import AddedSteps, added_step
from waybill.agent import Context
from waybill.chat import ChatRequest, Message, Reply
from waybill.chatting import Chat
from waybill.core.budget import TaskPolicy
from waybill.core.task import Document, Usage
from waybill.ledger.records import Grant
from waybill.models.config import model_missing
from waybill.once import Once, Reconcile
from waybill.reporting import streamed_chars, usage_of
from waybill_worker.effects import Effects
from waybill_worker.outbox import Outbox

_MAX_TOTAL = 10**15
"""Most that an attempt can come to: whole numbers stay exact in the ledger, and so do their sums."""
Fetched = TypeVar("Fetched")
Hook = Callable[[Context, str], Any]
"""The reconcile hook of an agent."""
Ask = Callable[[ChatRequest], Future[Reply]]
"""Sends one request to a model, from any thread."""


class TaskFacts(Protocol):
    """What an attempt may ask about its task and its agent."""

    async def documents(self, task_id: str) -> list[Document]:
        """The documents of a task."""

    async def policy(self, task_id: str) -> TaskPolicy:
        """What a task may do."""

    def hook(self, agent: str) -> Hook | None:
        """The reconcile hook of an agent, if it has one."""


class AttemptContext(Context):
    """What an attempt reports goes to its outbox; calls from other threads are carried over to the loop in order."""

    def __init__(
        self,
        grant: Grant,
        open_outbox: Callable[[], Outbox],
        effects: Effects,
        facts: TaskFacts,
        ask: Ask | None = None,
    ) -> None:
        self.task = grant.ref.task
        self.step = grant.step
        self.attempt = grant.ref.attempt
        self.tenant = grant.tenant
        self.deadline = time.time() + grant.run_timeout_ms / 1000
        self.usage = Usage()
        self.effects = effects
        self._open_outbox = open_outbox
        self.added = AddedSteps()
        self.ask = ask
        self._facts = facts
        self._once = Once(effects)
        hook = facts.hook(grant.agent)
        self._hook: Reconcile | None = partial(hook, self) if hook else None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._streamed_chars = 0
        self._cancelled = False
        self._ended = False

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was asked to stop."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask the agent to stop."""
        self._cancelled = True
        self.effects.stop()

    def end(self) -> None:
        """Ignore what stray threads of the agent may still report."""
        self._ended = True
        self.effects.stop()

    def progress(self, message: str, fraction: float | None = None) -> None:
        """Tell watchers how far the attempt is."""
        self._report(self._progress, str(message), None if fraction is None else float(fraction))

    def text(self, text: str) -> None:
        """Stream text to watchers. Raises Permanent past `MAX_TEXT_CHARS`."""
        text = str(text)
        self._streamed_chars = streamed_chars(self._streamed_chars, text)
        self._report(self._text, text)

    @property
    def outbox(self) -> Outbox:
        """Where what it reports goes; on the loop's thread."""
        return self._open_outbox()

    def spend(self, *, input_tokens: int = 0, output_tokens: int = 0, cost_microusd: int = 0) -> None:
        """Add to what this attempt used."""
        self._report(self.add_usage, usage_of(input_tokens, output_tokens, cost_microusd))

    def add_usage(self, usage: Usage) -> None:
        """Add to what this attempt used; on the loop's thread."""
        total = self.usage + usage
        self.usage = Usage(
            min(total.input_tokens, _MAX_TOTAL),
            min(total.output_tokens, _MAX_TOTAL),
            min(total.cost_microusd, _MAX_TOTAL),
        )

    async def documents(self) -> list[Document]:
        """The documents sent with the task."""
        return await self._fetched(lambda: self._facts.documents(self.task))

    async def policy(self) -> TaskPolicy:
        """What the task may do."""
        return await self._fetched(lambda: self._facts.policy(self.task))

    def once(self, key: str, function: Callable[[], Any], *, reconcile: Reconcile | None = None) -> Any:
        """Do something that must not happen twice."""
        return self._once(key, function, reconcile or self._hook)

    @property
    def has_model(self) -> bool:
        """Whether the worker has a model."""
        return self.ask is not None

    def chat(self, messages: str | Sequence[Message], **options: Any) -> Any:
        """Ask a model."""
        if self.ask is None:
            raise model_missing()
        return Chat(self.ask)(messages, **options)

    def add_step(self, name: str, agent: str, input: Any, **options: Any) -> None:
        """Add a step to the plan once this attempt has succeeded."""
        self.added.add(added_step(name, agent, input, **options))

    async def _fetched(self, fetch: Callable[[], Awaitable[Fetched]]) -> Fetched:
        """What is fetched on the loop of the worker, for whatever loop the agent runs on."""
        if threading.get_ident() == self._thread:
            return await fetch()

        async def fetched() -> Fetched:
            return await fetch()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetched(), self._loop))

    def _progress(self, message: str, fraction: float | None) -> None:
        self._open_outbox().progress(message, fraction)

    def _text(self, text: str) -> None:
        self._open_outbox().text(text)

    def _report(self, write: Callable[..., None], *args: object) -> None:
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self._report, write, *args)
        elif not self._ended:
            write(*args)


class StreamedText:
    """Takes the text of one answer of a model, as it comes, on the loop's thread. Implements
    `waybill.models.course.TextSink`.
    """

    def __init__(self, context: AttemptContext) -> None:
        self._context = context
        self._mark = context.outbox.streamed_chars

    def write(self, text: str) -> None:
        """Pass it on to the watchers."""
        if text:
            self._context.text(text)

    def restart(self) -> None:
        """Take it back."""
        self._context.outbox.rewind(self._mark)
