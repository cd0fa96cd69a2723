"""How the steps of the model go on: every transition that the design names, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from waybill.core.budget import TaskPolicy
from waybill.core.plan import Condition, FailurePolicy, LinkedStep
from waybill.core.retry import backoff_ms, may_retry
from waybill.core.task import StepState, TaskState
from waybill.ledger.records import NewTask

MAX_DEATHS = 2
MAX_LOSSES = 3
CANCEL_GRACE_MS = 10_000
OPEN = (StepState.PENDING, StepState.READY, StepState.RUNNING, StepState.BACKOFF, StepState.WAITING)
LET_GO = (StepState.SUCCEEDED, StepState.SKIPPED)
PLAIN_POLICY = TaskPolicy()


@dataclass
class ModelStep:
    """One step. `timer` is when its wait is over: for another attempt, for a worker or for a person; `decide_due` when
    its conditions may be looked at, under its `turn`. `known_as` has the names under which it refers to steps that took
    the place of others. `withheld`: in a paused task it lets nothing go.
    """

    number: int
    linked: LinkedStep
    dependencies: list[int]
    references: list[int]
    conditions: list[Condition]
    revision: int = 1
    known_as: dict[int, set[str]] = field(default_factory=dict)
    state: StepState = StepState.PENDING
    attempt: int = 0
    tries: int = 0
    deaths: int = 0
    losses: int = 0
    suspect: bool = False
    withheld: bool = False
    worker: str = ""
    exchange: int = 0
    run_deadline: int = 0
    timer: int | None = None
    turn: int = 0
    decide_due: int | None = None
    output: bytes = b""
    failure: str = ""
    wants_revision: bool = False
    dropped: bool = False

    @property
    def name(self) -> str:
        return self.linked.step.name


@dataclass
class ModelTask:
    """One task. `failure` is the reason alone; `deadline` the time, None without one. While `revising`, `revise_due` is
    when the revision may be leased, None while the task is paused. `start` is when it begins or began, 0 for one that
    began when it was submitted; `kept` what it was submitted as, until it begins.
    """

    id: str
    tenant: str
    state: TaskState
    steps: dict[int, ModelStep] = field(default_factory=dict)
    on_failure: FailurePolicy = FailurePolicy.STOP
    outcome: TaskState | None = None
    failure: str = ""
    span: int = 0
    deadline: int | None = None
    start: int = 0
    kept: NewTask | None = None
    letters: set[int] = field(default_factory=set)
    policy: TaskPolicy = PLAIN_POLICY
    sinks: set[int] = field(default_factory=set)
    revision: int = 0
    round: int = 0
    revisions: int = 0
    added: int = 0
    revising: bool = False
    revise_due: int | None = None

    @property
    def open(self) -> int:
        return sum(step.state in OPEN for step in self.steps.values())

    def dependents(self, step: ModelStep) -> list[ModelStep]:
        return [other for other in self.steps.values() if step.number in other.dependencies]


class Transitions:
    """The transitions; `now` is the injected clock."""

    def __init__(self, now: int) -> None:
        self.now = now

    def _start_deadline(self, task: ModelTask) -> None:
        task.deadline = self.now + task.span if task.span else None

    def _advance(self, task: ModelTask) -> None:
        """Lets go on whatever waits for nothing more, and skips what follows on skipped steps."""
        moved = task.state is TaskState.RUNNING
        while moved:
            moved = False
            for step in task.steps.values():
                if step.state is StepState.PENDING and step.decide_due is None and self._is_free(task, step):
                    self._arrive(task, step)
                    moved = True

    def _is_free(self, task: ModelTask, step: ModelStep) -> bool:
        needed = [task.steps[number] for number in step.dependencies]
        return all(other.state in LET_GO and not other.withheld for other in needed)

    def _arrive(self, task: ModelTask, step: ModelStep) -> None:
        skipped = any(task.steps[number].state is StepState.SKIPPED for number in step.dependencies)
        if skipped and not step.linked.step.allow_skipped:
            self._end(step, StepState.SKIPPED)
        elif step.conditions:
            step.turn, step.decide_due = step.turn + 1, self.now
        else:
            self._ready(task, step)

    def _ready(self, task: ModelTask, step: ModelStep) -> None:
        question = step.linked.step.question
        if question is not None:
            step.state, step.attempt = StepState.WAITING, step.attempt + 1
            step.timer = self.now + question.timeout_ms if question.timeout_ms else None
        else:
            step.state = StepState.READY
            if task.state is TaskState.RUNNING:
                self._arm_patience(step)

    def _arm_patience(self, step: ModelStep) -> None:
        patience_ms = step.linked.step.queue_timeout_ms
        step.timer = self.now + patience_ms if patience_ms else None

    def _end(self, step: ModelStep, state: StepState, failure: str = "") -> None:
        step.state, step.timer, step.decide_due = state, None, None
        step.failure = "" if state is StepState.SUCCEEDED else failure or step.failure

    def _commit(self, task: ModelTask, step: ModelStep, output: bytes) -> None:
        self._end(step, StepState.SUCCEEDED)
        step.suspect, step.output = False, output
        self._let_go(task, step)

    def _let_go(self, task: ModelTask, step: ModelStep) -> None:
        step.withheld = task.state is TaskState.PAUSED
        self._advance(task)
        self._settle_task(task)

    def _stopped(self, task: ModelTask, step: ModelStep, failure: str) -> bool:
        if task.state is not TaskState.CANCELLING:
            return False
        self._end(step, StepState.CANCELLED, failure)
        self._settle_task(task)
        return True

    def _fail(self, task: ModelTask, step: ModelStep, failure: str, *, final: bool, retry_after_ms: int = 0) -> None:
        if self._stopped(task, step, failure):
            return
        retry = step.linked.step.retry
        step.tries, step.suspect = step.tries + 1, False
        if final or not may_retry(retry, step.tries, failure):
            self._give_up(task, step, failure)
            return
        step.state, step.failure = StepState.BACKOFF, failure
        step.timer = self.now + backoff_ms(retry, step.tries, 0.0, retry_after_ms)

    def _requeue(self, task: ModelTask, step: ModelStep, failure: str, *, lost: bool) -> None:
        if lost:
            step.losses, step.suspect = step.losses + 1, True
        if self._stopped(task, step, failure):
            return
        if step.losses >= MAX_LOSSES:
            self._bury(task, step, failure)
        else:
            step.failure = failure
            self._ready(task, step)

    def _died(self, task: ModelTask, step: ModelStep, failure: str) -> None:
        step.deaths, step.suspect = step.deaths + 1, True
        if self._stopped(task, step, failure):
            return
        if step.deaths >= MAX_DEATHS:
            self._bury(task, step, failure)
        else:
            step.failure = failure
            self._ready(task, step)

    def _bury(self, task: ModelTask, step: ModelStep, failure: str) -> None:
        task.letters.add(step.number)
        self._give_up(task, step, failure)

    def _give_up(self, task: ModelTask, step: ModelStep, failure: str) -> None:
        self._end(step, StepState.FAILED, failure)
        asks = task.on_failure is FailurePolicy.REPLAN or failure == "REPLAN"
        if asks and task.revisions < task.policy.max_revisions:
            step.wants_revision = True
            if not task.revising:
                self._begin_round(task)
            return
        if task.on_failure is not FailurePolicy.CONTINUE:
            self._stop(task, TaskState.FAILED, failure)
            return
        task.failure, task.outcome = task.failure or failure, TaskState.FAILED
        reached = [step]
        while reached:
            for other in task.dependents(reached.pop()):
                if other.state is StepState.PENDING:
                    self._end(other, StepState.SKIPPED)
                    reached.append(other)
        self._settle_task(task)

    def _begin_round(self, task: ModelTask) -> None:
        task.revising, task.round = True, task.round + 1
        self._offer_revision(task)

    def _offer_revision(self, task: ModelTask) -> None:
        if task.revising and task.state is TaskState.RUNNING:
            task.revise_due = self.now

    def _end_round(self, task: ModelTask) -> None:
        task.revising, task.revise_due = False, None

    def _stop(self, task: ModelTask, outcome: TaskState, failure: str) -> None:
        self._end_round(task)
        task.state, task.outcome, task.failure = TaskState.CANCELLING, outcome, failure
        for step in task.steps.values():
            if step.state is StepState.RUNNING:
                step.run_deadline = min(step.run_deadline, self.now + CANCEL_GRACE_MS)
            elif step.state in OPEN:
                self._end(step, StepState.CANCELLED)
        self._settle_task(task)

    def _settle_task(self, task: ModelTask) -> None:
        if task.open == 0 and task.steps and not task.revising and not task.state.ended:
            self._finish(task, task.outcome or TaskState.SUCCEEDED)

    def _finish(self, task: ModelTask, state: TaskState) -> None:
        self._end_round(task)
        task.state, task.deadline = state, None
        if state is not TaskState.FAILED:
            task.failure = ""
