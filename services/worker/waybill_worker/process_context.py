"""The context of an attempt in a process of its own: every call becomes a frame to the worker."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from waybill.adding import AddedSteps, added_step
from waybill.agent import Context
from waybill.chat import ChatRequest, Message, Reply
from waybill.chatting import Chat
from waybill.core.budget import TaskPolicy
from waybill.core.limits import MAX_EVENT_MESSAGE_CHARS
from waybill.core.task import Document, EffectState
from waybill.errors import AgentError, BudgetExhausted, Permanent
from waybill.invocation import clean
from waybill.ledger.records import Effect
from waybill.models.config import model_missing
from waybill.once import Once, Reconcile, attempt_over
from waybill.reporting import streamed_chars, usage_of
from waybill_worker import frames
from waybill_worker.context import Hook

Send = Callable[[frames.FromProcess], None]


class ProcessContext(Context):
    """What an attempt reports and asks; `cancel`, `hear` and `end` are for the process that runs it."""

    def __init__(self, run: frames.Run, send: Send, hook: Hook | None = None) -> None:
        self.task = run.task
        self.step = run.step
        self.attempt = run.attempt
        self.tenant = run.tenant
        self.deadline = run.deadline
        self._send_frame = send
        self._questions = _Questions(self._send)
        self._once = Once(self._questions)
        self._hook: Reconcile | None = partial(hook, self) if hook else None
        self._cancelling = threading.Lock()
        self._interrupt: Callable[[], object] = lambda: None
        self._has_model = run.has_model
        self._added = AddedSteps()
        self._streamed_chars = 0
        self._cancelled = False
        self._ended = False

    @property
    def cancelled(self) -> bool:
        """Whether the attempt was asked to stop; soon after, the process is killed."""
        return self._cancelled

    def on_cancel(self, interrupt: Callable[[], object]) -> None:
        """Call this, from another thread, when the agent is asked to stop; at once if it was already."""
        with self._cancelling:
            self._interrupt = interrupt
            if self._cancelled:
                interrupt()

    def cancel(self) -> None:
        """Ask the agent to stop."""
        with self._cancelling:
            self._cancelled = True
            if not self._ended:
                self._interrupt()

    def hear(self, answer: frames.Answer) -> None:
        """The worker answers a question."""
        self._questions.answered(answer)

    def end(self) -> None:
        """Ignore what stray threads of the agent may still report."""
        with self._cancelling:
            self._ended = True
        self._questions.close()

    def progress(self, message: str, fraction: float | None = None) -> None:
        """Tell watchers how far the attempt is."""
        text = clean(str(message)[:MAX_EVENT_MESSAGE_CHARS])
        self._send(frames.Progress(text, None if fraction is None else float(fraction)))

    def text(self, text: str) -> None:
        """Stream text to watchers. Raises Permanent past `MAX_TEXT_CHARS`."""
        text = str(text)
        self._streamed_chars = streamed_chars(self._streamed_chars, text)
        for start in range(0, len(text), frames.MAX_TEXT_CHARS):
            self._send(frames.Text(clean(text[start : start + frames.MAX_TEXT_CHARS])))

    def spend(self, *, input_tokens: int = 0, output_tokens: int = 0, cost_microusd: int = 0) -> None:
        """Add to what this attempt used."""
        self._send(frames.Spend(usage_of(input_tokens, output_tokens, cost_microusd)))

    async def documents(self) -> list[Document]:
        """The documents sent with the task."""
        answer: frames.Documents = await asyncio.wrap_future(self._questions.ask(frames.DocumentsWanted))
        return [Document(item.name, item.media_type, item.data) for item in answer.documents]

    def once(self, key: str, function: Callable[[], Any], *, reconcile: Reconcile | None = None) -> Any:
        """Do something that must not happen twice."""
        return self._once(key, function, reconcile or self._hook)

    @property
    def has_model(self) -> bool:
        """Whether the worker has a model."""
        return self._has_model

    def chat(self, messages: str | Sequence[Message], **options: Any) -> Any:
        """Ask a model, by way of the worker."""
        if not self._has_model:
            raise model_missing()
        return Chat(self._questions.chat)(messages, **options)

    async def policy(self) -> TaskPolicy:
        """What the task may do."""
        answer: frames.PolicyTold = await asyncio.wrap_future(self._questions.ask(frames.PolicyWanted))
        return answer.policy

    def add_step(self, name: str, agent: str, input: Any, **options: Any) -> None:
        """Add a step to the plan once this attempt has succeeded."""
        added = added_step(name, agent, input, **options)
        self._added.add(added)
        self._send(frames.StepAdded(added))

    def _send(self, message: frames.FromProcess) -> None:
        if not self._ended:
            self._send_frame(message)


class _Questions:
    """Questions to the worker that wait for their answers. Implements `waybill.once.EffectRecords`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[Future[Any], Callable[[Any], Any]]] = {}
        self._owner = os.getpid()
        self._closed = False

    def begin(self, key: str, nonce: str) -> Future[Effect]:
        """Announce an effect."""

        def effect(answer: frames.EffectBegun) -> Effect:
            return Effect(answer.state, answer.attempt, answer.result)

        return self.ask(lambda id: frames.BeginEffect(id, key, nonce), effect)

    def end(self, key: str, nonce: str, state: EffectState, result: bytes) -> Future[bool]:
        """Record what became of an effect."""

        def recorded(answer: frames.EffectEnded) -> bool:
            return answer.recorded

        return self.ask(lambda id: frames.EndEffect(id, key, nonce, state, result), recorded)

    def chat(self, request: ChatRequest) -> Future[Reply]:
        """What a model answers. Whoever cancels the future stops the call."""

        def reply(answer: frames.Answered) -> Reply:
            return answer.reply

        asked: list[int] = []

        def question(id: int) -> frames.Question:
            asked.append(id)
            return frames.Asked(id, request)

        def give_up(future: Future[Reply]) -> None:
            if future.cancelled():
                self._send(frames.GivenUp(asked[0]))

        future = self.ask(question, reply)
        future.add_done_callback(give_up)
        return future

    def ask(
        self, question: Callable[[int], frames.Question], read: Callable[[Any], Any] = lambda answer: answer
    ) -> Future[Any]:
        """The answer to a question, which gets a number; fails with AgentError."""
        if os.getpid() != self._owner:
            raise AgentError("only the agent's own process can ask its worker, not one that it forked")
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise attempt_over()
            id = next(self._ids)
            self._waiting[id] = future, read
        self._send(question(id))
        return future

    def answered(self, answer: frames.Answer) -> None:
        """An answer has come; one that nobody waits for is of an earlier attempt."""
        with self._lock:
            future, read = self._waiting.pop(answer.id, (None, None))
        if future is None or read is None or not future.set_running_or_notify_cancel():
            return
        if isinstance(answer, frames.Refused):
            future.set_exception(_error(answer))
        else:
            future.set_result(read(answer))

    def close(self) -> None:
        """Whoever still waits, waits in vain."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(attempt_over())


def _error(refused: frames.Refused) -> AgentError:
    if refused.over_budget:
        return BudgetExhausted(refused.message, reason=refused.reason)
    if refused.final:
        return Permanent(refused.message, reason=refused.reason)
    return AgentError(refused.message, reason=refused.reason, retry_after_seconds=refused.retry_after_seconds)
