"""What a task is made of when it runs: states, usage, failures and events, as the ledger keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class TaskState(StrEnum):
    """State of a task, spelled as in the ledger and in JSON."""

    PLANNING = "planning"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    SCHEDULED = "scheduled"

    @property
    def ended(self) -> bool:
        """Whether nothing follows by itself; a task that did not succeed may be retried."""
        return self in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


class StepState(StrEnum):
    """State of a step, spelled as in the ledger and in JSON."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    BACKOFF = "backoff"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    WAITING = "waiting"

    @property
    def ended(self) -> bool:
        """Whether nothing follows unless its task is retried."""
        return self in (StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED)


class EffectState(StrEnum):
    """What is known of an effect that an agent guards with `Context.once`, spelled as in the ledger and in JSON."""

    INTENDED = "intended"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


class CallState(StrEnum):
    """How far a model call is, spelled as in the ledger and in JSON."""

    OPEN = "open"
    """Its worst case is reserved."""
    SETTLED = "settled"
    """It used what the provider says."""
    ESTIMATED = "estimated"
    """Nobody saw its end: its worst case counts as used, until its end is told after all."""


class Priority(StrEnum):
    """How urgent a task is; workers take higher priorities first, in the order of this enum."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class EventType(StrEnum):
    """What an event tells."""

    TASK_ACCEPTED = "task_accepted"
    TASK_PLANNED = "task_planned"
    STEP_READY = "step_ready"
    STEP_STARTED = "step_started"
    STEP_PROGRESS = "step_progress"
    STEP_TEXT = "step_text"
    STEP_RETRIED = "step_retried"
    STEP_FINISHED = "step_finished"
    TASK_CANCELLING = "task_cancelling"
    TASK_FINISHED = "task_finished"
    TASK_PAUSED = "task_paused"
    TASK_RESUMED = "task_resumed"
    TASK_RETRIED = "task_retried"
    STEP_WAITING = "step_waiting"
    STREAM_RESET = "stream_reset"
    """Not part of a history: the store lost events that a watcher had seen, and the history follows from number 1."""
    PLANNING_PROGRESS = "planning_progress"
    REVISION_REQUESTED = "revision_requested"
    PLAN_REVISED = "plan_revised"
    CALL_ENDED = "call_ended"
    TASK_STARTED = "task_started"


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens and money; money in millionths of a US dollar.

    `cached_input_tokens` are part of `input_tokens`, `reasoning_tokens` of `output_tokens`, and `estimated_microusd` of
    `cost_microusd`: an upper estimate for calls whose end nobody saw.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    estimated_microusd: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, field) + getattr(other, field) for field in self.__struct_fields__))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, field) - getattr(other, field) for field in self.__struct_fields__))


class Failure(msgspec.Struct, frozen=True):
    """Why something failed: a stable upper-snake-case reason and one message for people."""

    reason: str
    message: str


class Event(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One record of progress, in the JSON form the ledger keeps; `sequence` is its position and `digest` (never 0) that
    of its stored form; neither is stored.

    Which fields are set depends on `type`, as documented at `EventType` in `task.proto`.
    """

    type: EventType
    time_ms: int = 0
    sequence: int = 0
    step: str = ""
    attempt: int = 0
    agent: str = ""
    worker: str = ""
    state: TaskState | None = None
    step_state: StepState | None = None
    revision: int = 0
    step_count: int = 0
    message: str = ""
    fraction: float | None = None
    text: str = ""
    failure: Failure | None = None
    delay_ms: int = 0
    usage: Usage | None = None
    wait_ms: int = 0
    run_ms: int = 0
    elapsed_ms: int = 0
    text_offset: int = 0
    digest: int = 0
    call: int = 0
    model: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A source text sent with a task. `data` is the raw content, UTF-8 for texts."""

    name: str
    media_type: str
    data: bytes
