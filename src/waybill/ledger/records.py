"""What goes into the ledger's functions and comes out of them. Plain data; no Redis here.

What there is one of for every step is a struct, which is made and hashed in a fraction of the time of a data class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from waybill.core.budget import Budget, TaskPolicy
from waybill.core.patch import LinkedPatch
from waybill.core.plan import Condition, FailurePolicy, Graph, Question
from waybill.core.task import Document, EffectState, Failure, Priority, StepState, TaskState, Usage


class StepRef(msgspec.Struct, frozen=True, gc=False):
    """One attempt of one step: task id, step number in the plan (from 1), attempt (the fencing token)."""

    task: str
    number: int
    attempt: int


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be submitted. `graph` is None for a goal that is yet to be planned.

    `input` is JSON text; `fingerprint` identifies the submitted spec under its request id. `start_ms` is when it
    begins, in epoch milliseconds; one that has passed, or 0, is now. `deadline_ms` counts from then, 0 for none.
    """

    id: str
    tenant: str
    request_id: str
    fingerprint: str
    goal: str = ""
    input: bytes = b"null"
    graph: Graph | None = None
    documents: tuple[Document, ...] = ()
    paths: tuple[str, ...] = ()
    priority: Priority = Priority.NORMAL
    labels: Mapping[str, str] = field(default_factory=dict)
    traceparent: str = ""
    deadline_ms: int = 0
    template: str = ""
    budget: Budget | None = None
    policy: TaskPolicy | None = None
    start_ms: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for a change, under which id: repeated within a day, the call changes nothing more."""

    tenant: str
    id: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A task that is stored. `repeated` if its request id was known: then the other fields say nothing."""

    task: str
    created_ms: int = 0
    last_sequence: int = 0
    repeated: bool = False


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The attempt failed; the retry policy decides."""
    FAILED_FINALLY = "failed_finally"
    """The attempt failed and no other can succeed."""
    CANCELLED = "cancelled"
    """The attempt was stopped because its task is stopping."""
    HANDED_BACK = "handed_back"
    """The worker did not start it, or stopped it to drain; it costs no try."""
    DIED = "died"
    """The process that ran it, and nothing else, died; it costs no try, and after `max_deaths` the step is dead."""
    UNDECODABLE = "undecodable"
    """What the ledger handed out cannot be read; the step is dead."""
    OVER_BUDGET = "over_budget"
    """Its next model call would cross a budget: it fails for good, or waits for a person if its task says so."""


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """The end of one attempt. `output` is JSON text for SUCCEEDED; `run_ms` was measured by the worker, with decimals;
    `retry_after_ms` is the least wait before the next attempt that the agent asked for, `patch` what it adds to the
    plan when it SUCCEEDED.
    """

    ref: StepRef
    outcome: Outcome
    output: bytes = b""
    failure: Failure | None = None
    usage: Usage = Usage()
    run_ms: float = 0
    retry_after_ms: int = 0
    patch: LinkedPatch | None = None


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A batch that a worker read from a queue and has not claimed yet."""

    agent: str
    priority: Priority
    entry_id: bytes
    body: bytes


class Grant(msgspec.Struct, frozen=True, gc=False):
    """A step that a worker now holds. `inputs` maps the names that the step's input refers to to their outputs
    (JSON text; "task" holds goal and input); where the ledger left them out for size, `Ledger.exchange` has
    fetched them. A `suspect` was running when its worker died: it has to run alone, in a process of its own, whatever
    its agent says.
    """

    ref: StepRef
    step: str
    agent: str
    input: bytes
    inputs: Mapping[str, bytes]
    run_timeout_ms: int
    tenant: str
    traceparent: str
    wait_ms: int
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Steps of an agent that a worker took at once, and why not more: see `lua/batch.lua` and `lua/queue.lua`."""

    agent: str
    reason: str
    size: int


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """What an operator says of an agent's batches: fewest and most steps, and the time that they are to take. 0 leaves
    it to the agent's code; fewest and most alike is a fixed size.
    """

    least: int = 0
    most: int = 0
    target_ms: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """Reply of one exchange: what the worker now holds in addition, in which batches it was taken out of the waiting
    rooms, and which settlements were stale.
    """

    grants: tuple[Grant, ...]
    stale: tuple[StepRef, ...]
    batches: tuple[Batch, ...] = ()


@dataclass(frozen=True, slots=True)
class Renewal:
    """Reply of one renew: held steps to stop because their task stops, and steps the worker no longer holds."""

    cancel: tuple[StepRef, ...]
    lost: tuple[StepRef, ...]


@dataclass(frozen=True, slots=True)
class AgentOffer:
    """An agent as a worker announces it; schemas are JSON text. A step of it needs a permit of each of `limits`, such
    as "model:default", before it starts.
    """

    name: str
    description: str
    input_schema: str
    output_schema: str
    max_batch: int = 1
    limits: tuple[str, ...] = ()
    min_batch: int = 1
    batch_target_ms: int = 0


@dataclass(frozen=True, slots=True)
class WorkerOffer:
    """A worker as it announces itself. `id` is `<name>.<random>`: a new incarnation reclaims the older ones."""

    id: str
    name: str
    address: str
    slots: int
    agents: tuple[AgentOffer, ...]


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as stored. Times are epoch milliseconds, 0 when not yet."""

    id: str
    tenant: str
    state: TaskState
    goal: str
    priority: Priority
    labels: Mapping[str, str]
    paths: tuple[str, ...]
    revision: int
    step_count: int
    ended_step_count: int
    last_sequence: int
    sinks: tuple[int, ...]
    failure: Failure | None
    traceparent: str
    usage: Usage
    wait_ms: int
    run_ms: int
    created_ms: int
    planned_ms: int
    ended_ms: int
    planning_note: str
    deadline_at_ms: int = 0
    template: str = ""
    agents: tuple[str, ...] = ()
    failure_policy: FailurePolicy = FailurePolicy.STOP
    budget: Budget | None = None
    reserved_microusd: int = 0
    policy: TaskPolicy | None = None
    revising: bool = False
    round: int = 0
    start_ms: int = 0

    @property
    def counted_from_ms(self) -> int:
        """When its latency begins: when it begins or began, if it was to begin later, or else its acceptance."""
        return self.start_ms or self.created_ms


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks are meant: all that is set must hold. Times are epoch milliseconds, `until_ms` exclusive, 0 open."""

    states: frozenset[TaskState] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    agent: str = ""
    template: str = ""
    from_ms: int = 0
    until_ms: int = 0

    def admits(self, task: TaskRecord) -> bool:
        """Whether a task is meant, its time apart."""
        return (
            (not self.states or task.state in self.states)
            and self.labels.items() <= task.labels.items()
            and (not self.agent or self.agent in task.agents)
            and (not self.template or self.template == task.template)
        )


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step as stored. Times are epoch milliseconds, 0 when not yet. `deaths` are processes that it killed while it
    ran alone, `losses` workers that went away while they held it.
    """

    number: int
    name: str
    agent: str
    state: StepState
    attempt: int
    tries: int
    deaths: int
    losses: int
    dependencies: tuple[int, ...]
    worker: str
    failure: Failure | None
    usage: Usage
    wait_ms: int
    run_ms: int
    ready_ms: int
    started_ms: int
    ended_ms: int
    question: Question | None = None
    input: bytes = b""
    output: bytes = b""
    plan_revision: int = 1
    when: tuple[str, ...] = ()
    allow_skipped: bool = False
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent as announced, with its live workers and backlog."""

    name: str
    description: str
    input_schema: str
    output_schema: str
    max_batch: int
    live_workers: int
    waiting_steps: int
    queued_batches: int
    paused: bool = False


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A live worker."""

    id: str
    address: str
    slots: int
    agents: tuple[str, ...]
    held_steps: int


@dataclass(frozen=True, slots=True)
class PlanningLease:
    """A task that waits for a plan, with what a planner needs to know of it. A retry of the task begins another
    `round`: what is said for an earlier one is refused.
    """

    task: str
    tenant: str
    goal: str
    paths: tuple[str, ...]
    traceparent: str
    round: int = 0


@dataclass(frozen=True, slots=True)
class DecisionLease:
    """A step whose conditions are to be looked at. `inputs` are the outputs that they refer to, JSON text by step
    number: empty for a step that was skipped, and for 0 an object of the task's goal and input. `turn` fences a
    decision.
    """

    task: str
    tenant: str
    number: int
    turn: int
    conditions: tuple[Condition, ...]
    inputs: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class RevisionLease:
    """A task whose plan is to be revised, and the steps that failed; `number` is the first of them, with its `failure`.
    `revision` and `round` fence the patch.
    """

    task: str
    tenant: str
    goal: str
    paths: tuple[str, ...]
    traceparent: str
    revision: int
    round: int
    failed: tuple[int, ...]
    number: int = 0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one tick did, and the milliseconds until the next is due. `ran` is False if another ran just before, or none
    was due; then nothing else is known.
    """

    ran: bool
    next_due_ms: int
    retried: int = 0
    reclaimed: int = 0
    expired: int = 0
    has_policy: bool = True
    waiting: tuple[str, ...] = ()
    """Bells of which some work waits that nobody has leased."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What is known of an effect that an agent guards; `attempt` set the state, `result` is JSON text once DONE."""

    state: EffectState
    attempt: int
    result: bytes = b""


@dataclass(frozen=True, slots=True)
class StepEffect:
    """An effect with the step (by number) and the key it belongs to."""

    number: int
    key: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A step that was given up. `id` is `<task>.<step number>`; the time is in epoch milliseconds."""

    id: str
    task: str
    number: int
    step: str
    agent: str
    failure: Failure
    deaths: int
    attempt: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class ArchiveLease:
    """An ended task that is to be archived; `ended_ms` tells this end from one after a retry."""

    task: str
    ended_ms: int
