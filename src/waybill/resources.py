"""What `waybill.Client` takes and returns: submissions, tasks, steps, metrics, agents and tenants as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import task_pb2
from waybill.core.budget import Budget, TaskPolicy
from waybill.core.ids import random_id
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
        return self.request_id or random_id()

    def spec(self) -> task_pb2.TaskSpec:
        """The submission as a message. Raises `InvalidArgument` for what has no JSON form or is no plan."""
        spec = task_pb2.TaskSpec()
        self.fill(spec, plan_message)
        return spec

    def fill(self, spec: task_pb2.TaskSpec, plan_of: Callable[[Any], task_pb2.Plan]) -> None:
        """Fill an empty message with the submission, its plan as `plan_of` makes it one. Raises as `spec`."""
        written = {name: value for name in _WRITTEN if (value := getattr(self, name)) is not None}
        if written:
            spec.MergeFrom(conversion.spec_from_json(written))
        for name, default, rule, put in _PLAIN:
            value = getattr(self, name)
            if value is not default:
                with InvalidArgument.unless_fitting(name, rule):
                    put(spec, value)
        if self.plan is not None:
            spec.plan.CopyFrom(plan_of(self.plan))


def plan_message(plan: Plan | PlanSource | Mapping[str, Any]) -> task_pb2.Plan:
    """A plan in any of its forms as a message. Raises `InvalidArgument` or `InvalidPlan` for what is none."""
    if isinstance(plan, Plan):
        return conversion.plan_to_proto(plan)
    if isinstance(plan, PlanSource):
        return conversion.plan_to_proto(plan.build())
    return conversion.plan_from_json(plan)


def _put_goal(spec: task_pb2.TaskSpec, goal: str) -> None:
    spec.goal = goal


def _put_paths(spec: task_pb2.TaskSpec, paths: Sequence[str | Path]) -> None:
    spec.paths.extend(str(path) for path in paths)


def _put_priority(spec: task_pb2.TaskSpec, priority: Priority) -> None:
    spec.priority = conversion.PRIORITY_TO_PROTO[priority]


def _put_labels(spec: task_pb2.TaskSpec, labels: Mapping[str, str]) -> None:
    spec.labels.update(labels)


def _put_deadline(spec: task_pb2.TaskSpec, deadline_ms: int) -> None:
    spec.deadline_ms = deadline_ms


def _put_template(spec: task_pb2.TaskSpec, template: str) -> None:
    spec.template = template


def _put_start(spec: task_pb2.TaskSpec, start_time: datetime) -> None:
    spec.start_time.CopyFrom(timestamp_of(start_time))


def _put_documents(spec: task_pb2.TaskSpec, documents: Sequence[Document]) -> None:
    for document in documents:
        spec.documents.add(name=document.name, media_type=document.media_type, data=document.data)


_WRITTEN = ("input", "budget", "policy", "parameters")
"""Fields of a submission that are written as JSON first."""
_PLAIN: tuple[tuple[str, object, str, Callable[[task_pb2.TaskSpec, Any], None]], ...] = (
    ("goal", "", "must be a text", _put_goal),
    ("paths", (), "must be a list of paths", _put_paths),
    ("priority", None, f"must be one of {', '.join(Priority)}", _put_priority),
    ("labels", None, "must be a mapping of texts to texts", _put_labels),
    ("deadline_ms", 0, "must be a whole number of milliseconds", _put_deadline),
    ("template", "", "must be a text", _put_template),
    ("start_time", None, "must be a datetime", _put_start),
    ("documents", (), "must be a list of Document", _put_documents),
)
"""The other fields but the plan: what an empty message says already, what a value must be, and how it is put there."""


class Task(msgspec.Struct, frozen=True):
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
            labels=dict(message.labels.items()) if message.labels else {},
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
