"""What a process asks of its worker while it runs an attempt: each question is answered on its own, in any order."""

from __future__ import annotations

import asyncio

from waybill.errors import Permanent, WaybillError
from waybill.telemetry.logs import get_logger
from waybill_worker import frames
from waybill_worker.context import AttemptContext

_log = get_logger(__name__)


class Answers:
    """Answers the questions of one attempt until it ends."""

    def __init__(self, context: AttemptContext, writer: asyncio.StreamWriter) -> None:
        self._context = context
        self._writer = writer
        self._tasks: set[asyncio.Task[None]] = set()

    def give(self, question: frames.Question) -> None:
        """Answer when the answer is known."""
        task = asyncio.get_running_loop().create_task(self._answer(question))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Answer nothing more."""
        for task in self._tasks:
            task.cancel()

    async def _answer(self, question: frames.Question) -> None:
        try:
            answer = await self._find(question)
        except WaybillError as error:
            answer = frames.Refused(question.id, error.reason, error.message, isinstance(error, Permanent))
        except Exception as error:  # without an answer the agent would wait for ever
            _log.error("a question of an agent has no answer", exc_info=error)
            answer = frames.Refused(question.id, WaybillError.reason, "the worker could not find the answer", False)
        if not self._writer.is_closing():
            self._writer.write(frames.encode(answer))

    async def _find(self, question: frames.Question) -> frames.Answer:
        effects = self._context.effects
        match question:
            case frames.DocumentsWanted(id):
                found = await self._context.documents()
                documents = tuple(frames.DocumentFrame(item.name, item.media_type, item.data) for item in found)
                return frames.Documents(id, documents)
            case frames.BeginEffect(id, key, nonce):
                # Shielded: what was told to the ledger is told to its end, even if the process is gone.
                effect = await asyncio.shield(asyncio.wrap_future(effects.begin(key, nonce)))
                return frames.EffectBegun(id, effect.state, effect.attempt, effect.result)
            case frames.EndEffect(id, key, nonce, state, result):
                recorded = await asyncio.shield(asyncio.wrap_future(effects.end(key, nonce, state, result)))
                return frames.EffectEnded(id, recorded)
