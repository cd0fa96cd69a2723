"""The agent `tools` with a model that answers from a script in its step's input. Loaded by name, in workers."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from waybill_worker.agents import tools_run

from waybill import Context, Reply, ToolCall, agent
from waybill.chat import ChatRequest
from waybill.chatting import Chat
from waybill.core.budget import TaskPolicy
from waybill.testing import ScriptedModel


@agent
async def scripted_tools(ctx: Context, turns: list[Any], asked: str, wait: dict[str, str] | None = None) -> Any:
    """Each turn is a list of calls, each a tool of `mail` and its arguments, or a text. Every question to the model is
    a line of the file `asked`. `wait` names by turn a file that has to exist before the model answers.
    """

    def script(request: ChatRequest) -> Any:
        turn = sum(message.role == "assistant" for message in request.messages)
        with Path(asked).open("a") as file:
            file.write(f"{turn}\n")
        answer = turns[turn]
        if isinstance(answer, str):
            return answer
        return [ToolCall(f"c{turn}.{n}", f"mail__{name}", json.dumps(given)) for n, (name, given) in enumerate(answer)]

    model = ScriptedModel(script)

    def send(request: ChatRequest) -> Future[Reply]:
        future: Future[Reply] = Future()

        async def answer() -> None:
            reply = model.answer(request)
            turn = str(sum(message.role == "assistant" for message in request.messages))
            while wait and turn in wait and not await asyncio.to_thread(Path(wait[turn]).exists):
                await asyncio.sleep(0.02)
            future.set_result(reply)

        answering.append(asyncio.ensure_future(answer()))
        return future

    async def policy() -> TaskPolicy:
        return TaskPolicy()

    answering: list[asyncio.Future[None]] = []
    given: Any = ctx
    given.chat, given.policy = Chat(send), policy
    return await tools_run.run(given, "pay the bills", ["mail"], [], {}, "", "", 20, None)
