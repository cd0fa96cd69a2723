"""What `waybill.Client` takes and returns: submissions, tasks, steps, metrics, agents and tenants as plain values."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import task_pb2
from waybill.core.budget import Budget, TaskPolicy
from waybill.core.plan import Plan, PlanSource, Question
from waybill.core.task import Document, Failure, Priority, StepState, TaskState, Usage
from waybill.errors import InvalidArgument
from waybill.rpc import conversion
from waybill.rpc.events import timestamp_of
from waybill.rpc.plans import question_from_proto


@dataclass(frozen=True, slots=True)
class Submission:
    """One task to be submitted: exactly one of `goal`, `plan` and `template`.

    `plan` is a `Plan`, a `PlanBuilder`, or its JSON form, `{"steps": [...]}`. `input` is any JSON value. `request_id`
    makes a repeated submission return the same task; without one the client chooses a random one. `deadline_ms` is the
    time from acceptance after which the task fails, 0 for never. `template` names a plan template of the planner, which
    makes the plan from `parameters`; beside a goal or a plan it is only a name, for lists. `budget` is what the
    task may spend on models, `policy` what it may do; each as itself or in its JSON form. `start_time` is when
    the task begins, at most a year ahead; one without a time zone is local, one that has passed is now.
    """

    goal: str = ""
    plan: Plan | PlanSource | Mapping[str, Any] | None = None
    input: Any = None
    documents: Sequence[Document] = ()
    paths: Sequence[str | Path] = ()
    priority: Priority = Priority.NORMAL
    labels: Mapping[str, str] = field(default_factory=dict)
    request_id: str | None = None
    deadline_ms: int = 0
    template: str = ""
    budget: Budget | Mapping[str, Any] | None = None
    policy: TaskPolicy | Mapping[str, Any] | None = None
    start_time: datetime | None = None
    parameters: Mapping[str, Any] | None = None

    def chosen_request_id(self) -> str:
        """The request id, a new random one if there is none."""
        return self.request_id or uuid.uuid4().hex

    def spec(self) -> task_pb2.TaskSpec:
        """The submission as a message. Raises `InvalidArgument` for what has no JSON form or is no plan."""
        written = {
            "input": self.input,
            "budget": self.budget,
            "policy": self.policy,
            "parameters": self.parameters,
        }
        spec = conversion.spec_from_json({name: value for name, value in written.items() if value is not None})
        fitting = InvalidArgument.unless_fitting
        with fitting("goal", "must be a text"):
            spec.goal = self.goal
        with fitting("paths", "must be a list of paths"):
            spec.paths.extend(str(path) for path in self.paths)
        with fitting("priority", f"must be one of {', '.join(Priority)}"):
            spec.priority = conversion.PRIORITY_TO_PROTO[self.priority]
        with fitting("labels", "must be a mapping of texts to texts"):
            spec.labels.update(self.labels)
        with fitting("deadline_ms", "must be a whole number of milliseconds"):
            spec.deadline_ms = self.deadline_ms
        with fitting("template", "must be a text"):
            spec.template = self.template
        with fitting("start_time", "must be a datetime"):
            if self.start_time is not None:
                spec.start_time.CopyFrom(timestamp_of(self.start_time))
        with fitting("documents", "must be a list of Document"):
            for document in self.documents:
                spec.documents.add(name=document.name, media_type=document.media_type, data=document.data)
        if isinstance(self.plan, Plan | PlanSource):
            plan = self.plan if isinstance(self.plan, Plan) else self.plan.build()
            spec.plan.CopyFrom(conversion.plan_to_proto(plan))
        elif self.plan is not None:
            spec.plan.CopyFrom(conversion.plan_from_json(self.plan))
        return spec


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it was when it was asked for. `output`, `waiting_reason` and `policy` are not filled in lists.

    `output_json` is the output as JSON text, None before the task succeeded. `reserved_microusd` is held for model
    calls that are under way, and no part of `usage` yet. `start_time` is when a task begins or began that was submitted
    to begin later.
    """

    name: str
    state: TaskState
    goal: str
    priority: Priority
    labels: Mapping[str, str]
    plan_revision: int
    step_count: int
    ended_step_count: int
    last_sequence: int
    output_json: bytes | None
    failure: Failure | None
    waiting_reason: str
    usage: Usage
    create_time: datetime | None
    end_time: datetime | None
    deadline_time: datetime | None
    template: str
    archived: bool
    budget: Budget | None = None
    reserved_microusd: int = 0
    policy: TaskPolicy | None = None
    start_time: datetime | None = None

    @property
    def id(self) -> str:
        """The name without its collection."""
        return self.name.removeprefix("tasks/")

    @property
    def output(self) -> Any:
        """What the task returned, decoded; None before it succeeded."""
        return decoded(self.output_json)

    @classmethod
    def of(cls, message: task_pb2.Task) -> Task:
        """The task of a message."""
        has = message.HasField
        return cls(
            name=message.name,
            state=conversion.TASK_STATE_FROM_PROTO[message.state],
            goal=message.goal,
            priority=conversion.PRIORITY_FROM_PROTO[message.priority],
            labels=dict(message.labels),
            plan_revision=message.plan_revision,
            step_count=message.step_count,
            ended_step_count=message.ended_step_count,
            last_sequence=message.last_sequence,
            output_json=message.output.data if has("output") else None,
            failure=conversion.failure_from_proto(message.failure) if has("failure") else None,
            waiting_reason=message.waiting_reason,
            usage=conversion.usage_from_proto(message.usage),
            create_time=_time(message.create_time) if has("create_time") else None,
            end_time=_time(message.end_time) if has("end_time") else None,
            deadline_time=_time(message.deadline_time) if has("deadline_time") else None,
            template=message.template,
            archived=message.archived,
            budget=conversion.budget_from_proto(message.budget) if has("budget") else None,
            reserved_microusd=message.reserved_microusd,
            policy=conversion.policy_from_proto(message.policy) if has("policy") else None,
            start_time=_time(message.start_time) if has("start_time") else None,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a task. Inputs and outputs are JSON text; `input_json` has its references unresolved.

    A step that asks a person has a `question`, and while it waits `question_input_json`: what the answer is about.
    `plan_revision` added it to the plan, and it is `dropped` if a later one took it out.
    """

    name: str
    agent: str
    state: StepState
    attempt: int
    failed_attempts: int
    depends_on: tuple[str, ...]
    input_json: bytes
    output_json: bytes | None
    failure: Failure | None
    worker: str
    waiting_reason: str
    usage: Usage
    ready_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    question: Question | None
    question_input_json: bytes | None
    plan_revision: int = 1
    when: tuple[str, ...] = ()
    dropped: bool = False

    @property
    def id(self) -> str:
        """The step's name in its plan."""
        return self.name.rpartition("/")[2]

    @property
    def output(self) -> Any:
        """What the step returned, decoded; None before it succeeded."""
        return decoded(self.output_json)

    @property
    def question_input(self) -> Any:
        """What a waiting question is about, decoded; None for a step that does not wait for an answer."""
        return decoded(self.question_input_json)

    @classmethod
    def of(cls, message: task_pb2.Step) -> Step:
        """The step of a message."""
        return cls(
            name=message.name,
            agent=message.agent,
            state=conversion.STEP_STATE_FROM_PROTO[message.state],
            attempt=message.attempt,
            failed_attempts=message.failed_attempts,
            depends_on=tuple(message.depends_on),
            input_json=message.input.data,
            output_json=message.output.data if message.HasField("output") else None,
            failure=conversion.failure_from_proto(message.failure) if message.HasField("failure") else None,
            worker=message.worker,
            waiting_reason=message.waiting_reason,
            usage=conversion.usage_from_proto(message.usage),
            ready_time=time_of(message, "ready_time"),
            start_time=time_of(message, "start_time"),
            end_time=time_of(message, "end_time"),
            question=question_from_proto(message.question) if message.HasField("question") else None,
            question_input_json=message.question_input.data if message.HasField("question_input") else None,
            plan_revision=message.plan_revision,
            when=tuple(message.when),
            dropped=message.dropped,
        )


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """Latency and cost of one step, over all its attempts. Times in milliseconds."""

    step: str
    agent: str
    attempts: int
    wait_ms: int
    run_ms: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """Latency and cost of a task. Times in milliseconds; `elapsed_ms` runs until the end, or until now."""

    name: str
    elapsed_ms: int
    planning_ms: int
    wait_ms: int
    run_ms: int
    usage: Usage
    steps: tuple[StepMetrics, ...]

    @classmethod
    def of(cls, message: task_pb2.TaskMetrics) -> TaskMetrics:
        """The metrics of a message."""
        steps = (
            StepMetrics(
                step.step,
                step.agent,
                step.attempts,
                step.wait_ms,
                step.run_ms,
                conversion.usage_from_proto(step.usage),
            )
            for step in message.steps
        )
        usage = conversion.usage_from_proto(message.usage)
        return cls(
            message.name,
            message.elapsed_ms,
            message.planning_ms,
            message.wait_ms,
            message.run_ms,
            usage,
            tuple(steps),
        )


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent that workers have announced, with its schemas as JSON text and its backlog."""

    name: str
    description: str
    input_schema: str
    output_schema: str
    max_batch: int
    live_workers: int
    waiting_steps: int
    queued_batches: int
    paused: bool

    @property
    def id(self) -> str:
        """The agent's name as plans use it."""
        return self.name.removeprefix("agents/")

    @classmethod
    def of(cls, message: task_pb2.Agent) -> Agent:
        """The agent of a message."""
        return cls(
            name=message.name,
            description=message.description,
            input_schema=message.input_schema,
            output_schema=message.output_schema,
            max_batch=message.max_batch,
            live_workers=message.live_workers,
            waiting_steps=message.waiting_steps,
            queued_batches=message.queued_batches,
            paused=message.paused,
        )


@dataclass(frozen=True, slots=True)
class Tenant:
    """The caller's tenant."""

    name: str
    paused: bool

    @classmethod
    def of(cls, message: task_pb2.Tenant) -> Tenant:
        """The tenant of a message."""
        return cls(message.name, message.paused)


def decoded(data: bytes | None) -> Any:
    """The value of JSON text; None for none."""
    return None if data is None else msgspec.json.decode(data)


def time_of(message: Any, field_name: str) -> datetime | None:
    """A time of a message, in UTC; None if it is not set."""
    return _time(getattr(message, field_name)) if message.HasField(field_name) else None


_EPOCH = datetime.fromtimestamp(0, UTC)


def _time(time: Timestamp) -> datetime:
    return _EPOCH + timedelta(0, time.seconds, time.nanos // 1_000)
