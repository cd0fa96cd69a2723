"""The messages between a worker and the processes that run its plain agents, and how they travel on a socket.

Every process has a socket pair of its own with the worker, so one that is killed in the middle of a message
can disturb nobody else. A frame is four bytes of length, then msgpack.
"""

from __future__ import annotations

import asyncio
import socket
import struct

import msgspec

from waybill.adding import AddedStep
from waybill.chat import ChatRequest, Reply
from waybill.core.budget import TaskPolicy
from waybill.core.task import EffectState, Usage
from waybill.ledger.records import Outcome

_LENGTH = struct.Struct("!I")
MAX_TEXT_CHARS = 1024 * 1024
"""Most text that one frame carries."""


class Setup(msgspec.Struct, frozen=True, tag=True):
    """To the nursery, once: what to import before the first fork."""

    modules: tuple[str, ...]
    sys_path: tuple[str, ...]
    log_level: str


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run one attempt. `input` is resolved JSON text, `deadline` epoch seconds."""

    agent: str
    input: bytes
    task: str
    step: str
    attempt: int
    tenant: str
    deadline: float
    traceparent: str
    has_model: bool = False


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """The running attempt is asked to stop; the process is killed soon after."""


class DocumentFrame(msgspec.Struct, frozen=True):
    """One document of the task."""

    name: str
    media_type: str
    data: bytes


class Documents(msgspec.Struct, frozen=True, tag=True):
    """Answer to `DocumentsWanted`."""

    id: int
    documents: tuple[DocumentFrame, ...] = ()


class EffectBegun(msgspec.Struct, frozen=True, tag=True):
    """Answer to `BeginEffect`: what is known of the effect. `result` is JSON text if it is DONE."""

    id: int
    state: EffectState
    attempt: int
    result: bytes


class EffectEnded(msgspec.Struct, frozen=True, tag=True):
    """Answer to `EndEffect`."""

    id: int
    recorded: bool


class PolicyTold(msgspec.Struct, frozen=True, tag=True):
    """Answer to `PolicyWanted`."""

    id: int
    policy: TaskPolicy


class Answered(msgspec.Struct, frozen=True, tag=True):
    """Answer to `Asked`: what a model said."""

    id: int
    reply: Reply


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Answer to a question that cannot be answered; no other attempt gets a better one if `final`, and none without
    more money if `over_budget`.
    """

    id: int
    reason: str
    message: str
    final: bool
    over_budget: bool = False
    retry_after_seconds: float = 0.0


class Progress(msgspec.Struct, frozen=True, tag=True):
    """The agent called `Context.progress`."""

    message: str
    fraction: float | None


class Text(msgspec.Struct, frozen=True, tag=True):
    """The agent called `Context.text`."""

    text: str


class Spend(msgspec.Struct, frozen=True, tag=True):
    """The agent called `Context.spend`."""

    usage: Usage


class StepAdded(msgspec.Struct, frozen=True, tag=True):
    """The agent called `Context.add_step`."""

    added: AddedStep


class DocumentsWanted(msgspec.Struct, frozen=True, tag=True):
    """The agent called `Context.documents`. Answers carry the `id` of their question."""

    id: int


class PolicyWanted(msgspec.Struct, frozen=True, tag=True):
    """The agent called `Context.policy`."""

    id: int


class Asked(msgspec.Struct, frozen=True, tag=True):
    """The agent called `Context.chat`. Streamed text goes to the watchers by way of the worker alone."""

    id: int
    request: ChatRequest


class GivenUp(msgspec.Struct, frozen=True, tag=True):
    """The agent waits no longer for the answer to its question `id`."""

    id: int


class BeginEffect(msgspec.Struct, frozen=True, tag=True):
    """The agent is about to do what `Context.once` guards."""

    id: int
    key: str
    nonce: str


class EndEffect(msgspec.Struct, frozen=True, tag=True):
    """What became of it. `result` is JSON text if it is DONE."""

    id: int
    key: str
    nonce: str
    state: EffectState
    result: bytes


class Done(msgspec.Struct, frozen=True, tag=True):
    """The attempt has ended and the process is free again. `output` is JSON text for SUCCEEDED."""

    outcome: Outcome
    output: bytes = b""
    reason: str = ""
    message: str = ""
    retry_after_ms: int = 0


Question = DocumentsWanted | PolicyWanted | Asked | BeginEffect | EndEffect
Answer = Documents | PolicyTold | Answered | EffectBegun | EffectEnded | Refused
Report = Progress | Text | Spend | StepAdded | GivenUp
ToProcess = Run | Cancel | Answer
FromProcess = Report | Question | Done

_encoder = msgspec.msgpack.Encoder()
to_process = msgspec.msgpack.Decoder(ToProcess)
from_process = msgspec.msgpack.Decoder(FromProcess)
setup_decoder = msgspec.msgpack.Decoder(Setup)


def encode(message: ToProcess | FromProcess | Setup) -> bytes:
    """The frame of one message."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader) -> bytes:
    """The body of the next frame. Raises asyncio.IncompleteReadError when the other side is gone."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(length)


def receive(connection: socket.socket) -> bytes:
    """The body of the next frame, blocking. Raises EOFError when the other side is gone."""
    (length,) = _LENGTH.unpack(_receive_exactly(connection, _LENGTH.size))
    return _receive_exactly(connection, length)


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("the worker is gone")
        data += part
    return bytes(data)
