"""A context in memory: it keeps what an agent reports, and answers what an agent asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from waybill.adding import AddedSteps, added_step
from waybill.agent import Context
from waybill.chat import ChatRequest, Message, Reply, Tool
from waybill.chatting import Chat
from waybill.core.budget import TaskPolicy
from waybill.core.task import Document, Event, EventType, Usage
from waybill.invocation import clean
from waybill.models.config import model_missing
from waybill.models.scripted import ScriptedModel
from waybill.once import Once, Reconcile
from waybill.reporting import progress_event, streamed_chars, usage_of
from waybill.testing.effects import MemoryEffects, Records


def _tell_nobody(_: Event) -> None:
    """Reports are kept, and told to nobody."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One call of `Context.progress`."""

    message: str
    fraction: float | None = None


@dataclass(slots=True)
class MemoryContext(Context):
    """A context that keeps what the agent reports. `deadline` is in epoch seconds; `hook` is the agent's own reconcile
    hook, which `run_agent` sets. `tell` gets an event of each report, from any thread; `called` is the part of `usage`
    that the model counted.
    """

    task: str = "task-1"
    step: str = "step"
    attempt: int = 1
    tenant: str = "default"
    deadline: float = 0.0
    sent: Sequence[Document] = ()
    reported: list[Progress] = field(default_factory=list)
    streamed: list[str] = field(default_factory=list)
    usage: Usage = Usage()
    effects: MemoryEffects = field(default_factory=MemoryEffects)
    hook: Callable[[Context, str], Any] | None = None
    model: ScriptedModel | None = None
    allowed: TaskPolicy = TaskPolicy()
    added: AddedSteps = field(default_factory=AddedSteps)
    tell: Callable[[Event], None] = field(default=_tell_nobody, repr=False)
    called: Usage = Usage()
    calls: int = 0
    _records: Records = field(init=False, repr=False)
    _once: Once = field(init=False, repr=False)
    _streamed_chars: int = 0
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._records = Records(self)
        self._once = Once(self._records)

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    @property
    def crashed(self) -> bool:
        """Whether the attempt met a crash that was asked for: nothing that it does counts from then on."""
        return self._records.crashed is not None

    def cancel(self) -> None:
        """Ask the attempt to stop."""
        self._cancelled.set()

    def progress(self, message: str, fraction: float | None = None) -> None:
        """Keep a report of progress."""
        self.reported.append(Progress(message, fraction))
        self.tell(progress_event(str(message), None if fraction is None else float(fraction)))

    def text(self, text: str) -> None:
        """Keep streamed text. Raises Permanent if it is too much."""
        cleaned = clean(str(text))
        with self._lock:
            before, self._streamed_chars = self._streamed_chars, streamed_chars(self._streamed_chars, cleaned)
            self.streamed.append(cleaned)
        self.tell(Event(type=EventType.STEP_TEXT, text=cleaned, text_offset=before))

    def spend(self, *, input_tokens: int = 0, output_tokens: int = 0, cost_microusd: int = 0) -> None:
        """Add to what was used. Raises ValueError for what is no amount."""
        spent = usage_of(input_tokens, output_tokens, cost_microusd)
        with self._lock:
            self.usage = self.usage + spent

    async def documents(self) -> list[Document]:
        """The documents that the run was given."""
        return list(self.sent)

    def once(self, key: str, function: Callable[[], Any], *, reconcile: Reconcile | None = None) -> Any:
        """Do something that must not happen twice, as far as `effects` tells."""
        own = partial(self.hook, self) if self.hook else None
        return self._once(key, function, reconcile or own)

    @property
    def has_model(self) -> bool:
        """Whether the run was given a model."""
        return self.model is not None

    def chat(self, messages: str | Sequence[Message], *, tools: Sequence[Tool] = (), **options: Any) -> Any:
        """Ask the scripted model."""
        return Chat(self._ask)(messages, tools=tools, **options)

    async def policy(self) -> TaskPolicy:
        """The policy that the run was given."""
        return self.allowed

    def add_step(self, name: str, agent: str, input: Any, **options: Any) -> None:
        """Keep a step that is added."""
        self.added.add(added_step(name, agent, input, **options))

    def _ask(self, request: ChatRequest) -> Future[Reply]:
        future: Future[Reply] = Future()
        try:
            if self.model is None:
                raise model_missing()
            reply = self.model.answer(request)
        except Exception as error:
            future.set_exception(error)
            return future
        if request.stream:
            self.text(reply.text)
        with self._lock:
            self.usage, self.called, self.calls = self.usage + reply.usage, self.called + reply.usage, self.calls + 1
            told = Event(type=EventType.CALL_ENDED, call=self.calls, model=reply.model, usage=reply.usage)
        self.tell(told)
        future.set_result(reply)
        return future
