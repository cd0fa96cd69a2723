"""The states of the design as plain Python: what every call has to come to, without a store.

It knows nothing of queues and batches: which of the steps that may run a worker is given is the ledger's to choose. So
it is told what was granted, says whether that was allowed, and predicts everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ledger_revisions import Revisions, named_inputs
from ledger_transitions import PLAIN_POLICY, ModelStep, ModelTask

from waybill.core.task import EffectState, StepState, TaskState
from waybill.ledger.records import NewTask, Outcome, Settlement, StepRef

WORKER_TTL_MS = 2_400
RUN_GRACE_MS = 5_000
TICK_INTERVAL_MS = 100


class Model(Revisions):
    """All tasks, workers, pauses and effects; `now` is the injected clock."""

    def __init__(self, now: int) -> None:
        super().__init__(now)
        self.workers: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.paused: set[str] = set()
        self.effects: dict[tuple[str, int, str], tuple[EffectState, int, str]] = {}
        self.last_tick: int | None = None

    # What callers ask.

    def submit(self, new: NewTask) -> None:
        task = ModelTask(new.id, new.tenant, TaskState.PLANNING, span=new.deadline_ms)
        task.policy = new.policy or PLAIN_POLICY
        task.sinks = _sinks(new)
        self.tasks[new.id] = task
        if new.start_ms > self.now:
            task.state, task.start, task.kept = TaskState.SCHEDULED, new.start_ms, new
        else:
            self._begin(task, new)

    def _begin(self, task: ModelTask, new: NewTask) -> None:
        task.state, task.kept = TaskState.PLANNING, None
        self._start_deadline(task)
        if new.graph is not None:
            self.plan(new.id, new)

    def plan(self, task_id: str, new: NewTask) -> None:
        task, graph = self.tasks[task_id], new.graph
        assert task.state is TaskState.PLANNING
        assert graph is not None
        task.state, task.on_failure = TaskState.RUNNING, graph.failure_policy
        task.revision = 1
        for number, linked in enumerate(graph.steps, 1):
            edges = (list(linked.dependencies), list(linked.references), list(linked.conditions))
            task.steps[number] = ModelStep(number, linked, *edges)
        task.sinks = _sinks(new)
        self._advance(task)

    def cancel(self, task_id: str) -> bool:
        """Whether it is allowed."""
        task = self.tasks[task_id]
        if task.state in (TaskState.PLANNING, TaskState.SCHEDULED):
            self._finish(task, TaskState.CANCELLED)
        elif task.state in (TaskState.RUNNING, TaskState.PAUSED):
            self._stop(task, TaskState.CANCELLED, "")
        return task.state not in (TaskState.SUCCEEDED, TaskState.FAILED)

    def pause(self, task_id: str) -> bool:
        task = self.tasks[task_id]
        if task.state is TaskState.RUNNING:
            task.state = TaskState.PAUSED
        return task.state is TaskState.PAUSED

    def resume(self, task_id: str) -> bool:
        task = self.tasks[task_id]
        if task.state is not TaskState.PAUSED:
            return task.state is TaskState.RUNNING
        task.state = TaskState.RUNNING
        for step in task.steps.values():
            step.withheld = False
            if step.state is StepState.READY:
                self._arm_patience(step)
        self._advance(task)
        self._offer_revision(task)
        self._settle_task(task)
        return True

    def retry(self, task_id: str) -> bool:
        task = self.tasks[task_id]
        if task.state in (TaskState.SUCCEEDED, TaskState.CANCELLING, TaskState.SCHEDULED):
            return False
        if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
            return True
        if task.kept is not None:
            task.start = self.now
            self._begin(task, task.kept)
            return True
        task.state = TaskState.RUNNING if task.steps else TaskState.PLANNING
        task.outcome, task.failure, task.letters, task.revisions = None, "", set(), 0
        self._start_deadline(task)
        for step in task.steps.values():
            step.withheld = False
            if step.dropped:
                step.state, step.failure = StepState.SKIPPED, ""
            elif step.state is not StepState.SUCCEEDED:
                step.state, step.failure, step.suspect, step.wants_revision = StepState.PENDING, "", False, False
                step.tries = step.deaths = step.losses = 0
        if task.steps:
            self._advance(task)
            self._settle_task(task)
        else:
            task.round += 1
        return True

    def answer(self, task_id: str, number: int) -> bool:
        task = self.tasks[task_id]
        step = task.steps[number]
        if step.state is not StepState.WAITING:
            return False
        self._commit(task, step, b'"yes"')
        return True

    # What workers do.

    def register(self, worker: str, name: str) -> None:
        older = self.names.get(name)
        if older is not None and older != worker:
            self.lose(older)
        self.names[name] = worker
        self.workers[worker] = self.now + WORKER_TTL_MS

    def beat(self, worker: str) -> bool:
        """Whether the worker is known."""
        if worker in self.workers:
            self.workers[worker] = self.now + WORKER_TTL_MS
        return worker in self.workers

    def lose(self, worker: str, *, died: bool = True) -> None:
        """The worker is gone; what it held runs again, as a suspect if it died."""
        for task, step in self.held(worker):
            if step.state is StepState.RUNNING:
                self._requeue(task, step, "WORKER_LOST" if died else "HANDED_BACK", lost=died)
        self.workers.pop(worker, None)
        self.names = {name: known for name, known in self.names.items() if known != worker}

    def held(self, worker: str) -> list[tuple[ModelTask, ModelStep]]:
        """What a worker holds, in the ledger's order."""
        found = [
            (task, step)
            for task in self.tasks.values()
            for step in task.steps.values()
            if step.state is StepState.RUNNING and step.worker == worker
        ]
        return sorted(found, key=lambda pair: (pair[1].run_deadline, _member(*pair)))

    def may_start(self, task: ModelTask, step: ModelStep) -> bool:
        names = {f"agent:{step.linked.step.agent}", f"tenant:{task.tenant}"}
        return step.state is StepState.READY and task.state is TaskState.RUNNING and not names & self.paused

    def grant(self, ref: StepRef, worker: str, exchange: int, *, suspect: bool, inputs: Mapping[str, bytes]) -> None:
        task = self.tasks[ref.task]
        step = task.steps[ref.number]
        assert self.may_start(task, step), f"{step} of {task.state} must not start"
        assert (ref.attempt, suspect) == (step.attempt + 1, step.suspect)
        assert inputs == dict(named_inputs(task, step))
        step.state, step.attempt, step.worker, step.exchange = StepState.RUNNING, ref.attempt, worker, exchange
        step.run_deadline, step.timer = self.now + step.linked.step.run_timeout_ms, None

    def holding(self, worker: str, ref: StepRef) -> tuple[ModelTask, ModelStep] | None:
        task = self.tasks.get(ref.task)
        step = task and task.steps.get(ref.number)
        if task and step and step.state is StepState.RUNNING and (step.worker, step.attempt) == (worker, ref.attempt):
            return task, step
        return None

    def settle(self, worker: str, settlement: Settlement) -> bool:
        """Whether the settlement counts."""
        found = self.holding(worker, settlement.ref)
        if found is None:
            return False
        task, step = found
        reason = settlement.failure.reason if settlement.failure else ""
        match settlement.outcome:
            case Outcome.SUCCEEDED if settlement.patch is not None:
                self.commit_with_patch(task, step, settlement.output, settlement.patch)
            case Outcome.SUCCEEDED:
                self._commit(task, step, settlement.output)
            case Outcome.CANCELLED if task.state is TaskState.CANCELLING:
                self._stopped(task, step, "")
            case Outcome.CANCELLED | Outcome.HANDED_BACK:
                self._requeue(task, step, "HANDED_BACK", lost=False)
            case Outcome.DIED:
                self._died(task, step, reason)
            case Outcome.UNDECODABLE:
                if not self._stopped(task, step, reason):
                    self._bury(task, step, reason)
            case Outcome.FAILED | Outcome.FAILED_FINALLY:
                final = settlement.outcome is Outcome.FAILED_FINALLY
                self._fail(task, step, reason, final=final, retry_after_ms=settlement.retry_after_ms)
        return True

    def renew(self, worker: str, seen: int, named: Iterable[StepRef]) -> tuple[set[StepRef], set[StepRef]]:
        """What the worker has to stop, and what it has lost; what it lacks runs again."""
        known = set(named)
        lost = {ref for ref in known if self.holding(worker, ref) is None}
        cancel = {ref for ref in known - lost if self.tasks[ref.task].state is TaskState.CANCELLING}
        for task, step in self.held(worker):
            if StepRef(task.id, step.number, step.attempt) not in known and step.exchange <= seen:
                self._requeue(task, step, "WORKER_LOST", lost=False)
        return cancel, lost

    # What time does.

    def tick(self) -> bool:
        """Whether it acts."""
        if self.last_tick is not None and self.now - self.last_tick < TICK_INTERVAL_MS:
            return False
        if self.last_tick is None or self.now - self.last_tick > WORKER_TTL_MS / 2:
            self.workers = {name: max(due, self.now + WORKER_TTL_MS) for name, due in self.workers.items()}
        self.last_tick = self.now
        for worker in self._by_life():
            if self.workers[worker] < self.now:
                self.lose(worker)
        for (due, member), task, step in sorted(self._due(), key=lambda item: item[0]):
            if member.endswith(":0:1"):
                self._start(task)
            else:
                self._fire(due, task, step)
        for worker in self._by_life():
            for task, step in self.held(worker):
                if step.state is StepState.RUNNING and step.run_deadline <= self.now - RUN_GRACE_MS:
                    self._fail(task, step, "TIMEOUT", final=False)
        return True

    def _by_life(self) -> list[str]:
        return sorted(self.workers, key=lambda worker: (self.workers[worker], worker))

    def _due(self) -> Iterator[tuple[tuple[int, str], ModelTask, ModelStep | None]]:
        for task in self.tasks.values():
            if task.state is TaskState.SCHEDULED and task.start <= self.now:
                yield (task.start, f"{task.id}:0:1"), task, None
            if task.deadline is not None and task.deadline <= self.now:
                yield (task.deadline, f"{task.id}:0:0"), task, None
            for step in task.steps.values():
                if step.timer is not None and step.timer <= self.now:
                    yield (step.timer, _member(task, step)), task, step

    def _start(self, task: ModelTask) -> None:
        if task.state is TaskState.SCHEDULED and task.kept is not None:
            task.start = self.now
            self._begin(task, task.kept)

    def _fire(self, due: int, task: ModelTask, step: ModelStep | None) -> None:
        if step is None:
            if task.deadline != due:
                return
            task.deadline = None
            if task.state is TaskState.PLANNING:
                task.failure = "DEADLINE_EXCEEDED"
                self._finish(task, TaskState.FAILED)
            elif task.state in (TaskState.RUNNING, TaskState.PAUSED):
                self._stop(task, TaskState.FAILED, "DEADLINE_EXCEEDED")
            return
        if step.timer != due:
            return
        step.timer = None
        spec = step.linked.step
        if step.state is StepState.BACKOFF:
            self._ready(task, step)
        elif step.state is StepState.WAITING:
            assert spec.question is not None
            if spec.question.default_answer:
                self._commit(task, step, spec.question.default_answer)
            else:
                self._give_up(task, step, "ANSWER_TIMEOUT")
        elif step.state is StepState.READY and task.state is not TaskState.PAUSED:
            if {f"agent:{spec.agent}", f"tenant:{task.tenant}"} & self.paused:
                self._arm_patience(step)
            else:
                self._give_up(task, step, "QUEUE_TIMEOUT")


def _sinks(new: NewTask) -> set[int]:
    return {number for number, linked in enumerate(new.graph.steps, 1) if not linked.dependents} if new.graph else set()


def _member(task: ModelTask, step: ModelStep) -> str:
    return f"{task.id}:{step.number}:{step.attempt}"
