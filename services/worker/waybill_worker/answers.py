"""What a process asks of its worker while it runs an attempt: each question is answered on its own, in any order."""

from __future__ import annotations

import asyncio

from waybill.errors import AgentError, BudgetExhausted, Permanent, WaybillError
from waybill.models.config import model_missing
from waybill.telemetry.logs import get_logger
from waybill_worker import frames
from waybill_worker.context import AttemptContext

_log = get_logger(__name__)


class Answers:
    """Answers the questions of one attempt until it ends."""

    def __init__(self, context: AttemptContext, writer: asyncio.StreamWriter) -> None:
        self._context = context
        self._writer = writer
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def give(self, question: frames.Question) -> None:
        """Answer when the answer is known."""
        task = asyncio.get_running_loop().create_task(self._answer(question))
        self._tasks[question.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(question.id, None))

    def give_up(self, id: int) -> None:
        """Nobody waits for the answer to this question any more."""
        task = self._tasks.get(id)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Answer nothing more."""
        for task in list(self._tasks.values()):
            task.cancel()

    async def _answer(self, question: frames.Question) -> None:
        try:
            answer = await self._find(question)
        except WaybillError as error:
            answer = _refusal(question.id, error)
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
            case frames.PolicyWanted(id):
                return frames.PolicyTold(id, await self._context.policy())
            case frames.Asked(id, request):
                if self._context.ask is None:
                    raise model_missing()
                return frames.Answered(id, await asyncio.wrap_future(self._context.ask(request)))
            case frames.BeginEffect(id, key, nonce):
                # Shielded: what was told to the ledger is told to its end, even if the process is gone.
                effect = await asyncio.shield(asyncio.wrap_future(effects.begin(key, nonce)))
                return frames.EffectBegun(id, effect.state, effect.attempt, effect.result)
            case frames.EndEffect(id, key, nonce, state, result):
                recorded = await asyncio.shield(asyncio.wrap_future(effects.end(key, nonce, state, result)))
                return frames.EffectEnded(id, recorded)


def _refusal(id: int, error: WaybillError) -> frames.Refused:
    return frames.Refused(
        id,
        error.reason,
        error.message,
        final=isinstance(error, Permanent),
        over_budget=isinstance(error, BudgetExhausted),
        retry_after_seconds=error.retry_after_seconds if isinstance(error, AgentError) else 0.0,
    )
