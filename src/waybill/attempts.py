"""What `waybill.Client` tells of how steps ran: attempts, the effects they guard, and dead letters, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from waybill.api.v1 import task_pb2
from waybill.core.task import EffectState, Failure, StepState, Usage
from waybill.resources import decoded, time_of
from waybill.rpc import conversion


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a step, or one wait for an answer, which has no worker. Times in milliseconds."""

    attempt: int
    state: StepState
    worker: str
    start_time: datetime | None
    end_time: datetime | None
    failure: Failure | None
    usage: Usage
    wait_ms: int
    run_ms: int

    @classmethod
    def of(cls, message: task_pb2.Attempt) -> Attempt:
        """The attempt of a message."""
        return cls(
            attempt=message.attempt,
            state=conversion.STEP_STATE_FROM_PROTO[message.state],
            worker=message.worker,
            start_time=time_of(message, "start_time"),
            end_time=time_of(message, "end_time"),
            failure=conversion.failure_from_proto(message.failure) if message.HasField("failure") else None,
            usage=conversion.usage_from_proto(message.usage),
            wait_ms=message.wait_ms,
            run_ms=message.run_ms,
        )


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect that an agent guards with `Context.once`. `step` is the step's resource name."""

    step: str
    key: str
    state: EffectState
    attempt: int
    result_json: bytes | None

    @property
    def result(self) -> Any:
        """What it returned, decoded; None before it was done."""
        return decoded(self.result_json)

    @classmethod
    def of(cls, message: task_pb2.Effect) -> Effect:
        """The effect of a message."""
        return cls(
            step=message.step,
            key=message.key,
            state=conversion.EFFECT_STATE_FROM_PROTO[message.state],
            attempt=message.attempt,
            result_json=message.result.data if message.HasField("result") else None,
        )


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A step that was given up because it kills the process that runs it, or cannot be decoded.

    `attempts` and `input_json` are not filled in lists.
    """

    name: str
    step: str
    agent: str
    failure: Failure | None
    deaths: int
    attempt: int
    create_time: datetime | None
    attempts: tuple[Attempt, ...]
    input_json: bytes | None

    @property
    def id(self) -> str:
        """The name without its collection."""
        return self.name.removeprefix("deadLetters/")

    @property
    def task(self) -> str:
        """Resource name of the task of the step."""
        return self.step.partition("/steps/")[0]

    @classmethod
    def of(cls, message: task_pb2.DeadLetter) -> DeadLetter:
        """The dead letter of a message."""
        return cls(
            name=message.name,
            step=message.step,
            agent=message.agent,
            failure=conversion.failure_from_proto(message.failure) if message.HasField("failure") else None,
            deaths=message.deaths,
            attempt=message.attempt,
            create_time=time_of(message, "create_time"),
            attempts=tuple(Attempt.of(attempt) for attempt in message.attempts),
            input_json=message.input.data if message.HasField("input") else None,
        )
