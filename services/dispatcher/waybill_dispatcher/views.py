"""How stored tasks, steps, attempts, effects, dead letters and agents look to callers."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from waybill.api.v1 import task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.plan import Question
from waybill.core.task import EffectState, TaskState
from waybill.ledger.call_records import CallRecord, LimitRecord, TenantBudget, UsageRow
from waybill.ledger.records import Accepted, AgentRecord, DeadLetter, Effect, NewTask, StepRecord, TaskRecord
from waybill.rpc.budgets import budget_to_proto, policy_to_proto
from waybill.rpc.enums import CALL_STATE_TO_PROTO, PRIORITY_TO_PROTO, STEP_STATE_TO_PROTO, TASK_STATE_TO_PROTO
from waybill.rpc.events import failure_to_proto, timestamp, usage_to_proto
from waybill.rpc.payloads import JSON_MEDIA_TYPE, json_defect, json_payload
from waybill_dispatcher.attempts import Attempt
from waybill_dispatcher.waiting import begins_at

EFFECT_STATE_TO_PROTO: dict[EffectState, task_pb2.EffectState.ValueType] = {
    state: task_pb2.EffectState.Value(f"EFFECT_STATE_{state.name}") for state in EffectState
}
_PREFIX = "tasks/"
_SCHEDULED, _PLANNING, _RUNNING = (
    TASK_STATE_TO_PROTO[state] for state in (TaskState.SCHEDULED, TaskState.PLANNING, TaskState.RUNNING)
)


def task_name(task_id: str) -> str:
    """Resource name of a task."""
    return _PREFIX + task_id


def step_name(task_id: str, step: str) -> str:
    """Resource name of a step."""
    return f"{task_name(task_id)}/steps/{step}"


def _time(epoch_ms: int) -> Timestamp | None:
    return timestamp(epoch_ms) if epoch_ms else None


def _set_time(time: Timestamp, epoch_ms: int) -> None:
    time.seconds, milliseconds = divmod(epoch_ms, 1000)
    time.nanos = milliseconds * 1_000_000


def tell_accepted(told: task_pb2.Task, task: NewTask, stored: Accepted) -> None:
    """Fill an empty message with a task as it stands right after it was stored."""
    is_later = task.start_ms > stored.created_ms
    steps = len(task.graph.steps) if task.graph and not is_later else 0
    told.name = _PREFIX + stored.task
    told.state = _SCHEDULED if is_later else _RUNNING if steps else _PLANNING
    told.goal = task.goal
    told.priority = PRIORITY_TO_PROTO[task.priority]
    for key, value in task.labels.items():
        told.labels[key] = value
    told.plan_revision = 1 if steps else 0
    told.step_count = steps
    told.last_sequence = stored.last_sequence
    told.usage.SetInParent()
    _set_time(told.create_time, stored.created_ms)
    if is_later:
        told.waiting_reason = begins_at(task.start_ms)
        _set_time(told.start_time, task.start_ms)
    elif task.deadline_ms:
        _set_time(told.deadline_time, stored.created_ms + task.deadline_ms)
    told.template = task.template
    if (budget := budget_to_proto(task.budget)) is not None:
        told.budget.CopyFrom(budget)
    if (policy := policy_to_proto(task.policy)) is not None:
        told.policy.CopyFrom(policy)


def accepted_task(task: NewTask, stored: Accepted) -> task_pb2.Task:
    """A task as it stands right after it was stored."""
    told = task_pb2.Task()
    tell_accepted(told, task, stored)
    return told


def task_message(
    record: TaskRecord,
    *,
    output: bytes = b"",
    waiting_reason: str = "",
    archived: bool = False,
    policy: TaskPolicy | None = None,
) -> task_pb2.Task:
    """A stored task, or one that only the archive has."""
    return task_pb2.Task(
        name=task_name(record.id),
        state=TASK_STATE_TO_PROTO[record.state],
        goal=record.goal,
        priority=PRIORITY_TO_PROTO[record.priority],
        labels=record.labels,
        plan_revision=record.revision,
        step_count=record.step_count,
        ended_step_count=record.ended_step_count,
        last_sequence=record.last_sequence,
        output=json_payload(output) if output else None,
        failure=failure_to_proto(record.failure),
        waiting_reason=waiting_reason,
        usage=usage_to_proto(record.usage),
        create_time=timestamp(record.created_ms),
        end_time=_time(record.ended_ms),
        deadline_time=_time(record.deadline_at_ms),
        template=record.template,
        archived=archived,
        budget=budget_to_proto(record.budget),
        reserved_microusd=record.reserved_microusd,
        start_time=_time(record.start_ms),
        policy=policy_to_proto(policy),
    )


def step_message(
    task_id: str,
    record: StepRecord,
    names: Sequence[str],
    *,
    waiting_reason: str = "",
    question_input: bytes = b"",
) -> task_pb2.Step:
    """A stored step. `names` are the names of the steps it depends on."""
    return task_pb2.Step(
        name=step_name(task_id, record.name),
        agent=record.agent,
        state=STEP_STATE_TO_PROTO[record.state],
        attempt=record.attempt,
        failed_attempts=record.tries,
        depends_on=names,
        input=json_payload(record.input) if record.input else None,
        output=json_payload(record.output) if record.output else None,
        failure=failure_to_proto(record.failure),
        worker=record.worker,
        waiting_reason=waiting_reason,
        usage=usage_to_proto(record.usage),
        ready_time=_time(record.ready_ms),
        start_time=_time(record.started_ms),
        end_time=_time(record.ended_ms),
        question=question_message(record.question) if record.question else None,
        question_input=json_payload(question_input) if question_input else None,
        plan_revision=record.plan_revision,
        when=record.when,
        dropped=record.dropped,
    )


def question_message(question: Question) -> task_pb2.Question:
    """What a step asks a person."""
    return task_pb2.Question(
        prompt=question.prompt,
        answer_schema=question.answer_schema,
        timeout_ms=question.timeout_ms,
        default_answer=json_payload(question.default_answer) if question.default_answer else None,
    )


def attempt_message(attempt: Attempt) -> task_pb2.Attempt:
    """An attempt of a step."""
    return task_pb2.Attempt(
        attempt=attempt.number,
        state=STEP_STATE_TO_PROTO[attempt.state],
        worker=attempt.worker,
        start_time=_time(attempt.started_ms),
        end_time=_time(attempt.ended_ms),
        failure=failure_to_proto(attempt.failure),
        usage=usage_to_proto(attempt.usage),
        wait_ms=attempt.wait_ms,
        run_ms=attempt.run_ms,
    )


def effect_message(task_id: str, step: str, key: str, effect: Effect) -> task_pb2.Effect:
    """An effect that a step guards."""
    return task_pb2.Effect(
        step=step_name(task_id, step),
        key=key,
        state=EFFECT_STATE_TO_PROTO[effect.state],
        attempt=effect.attempt,
        result=json_payload(effect.result) if effect.result else None,
    )


def letter_message(letter: DeadLetter, attempts: Sequence[Attempt] = (), input_: bytes = b"") -> task_pb2.DeadLetter:
    """A dead letter; in lists without attempts and input."""
    return task_pb2.DeadLetter(
        name=f"deadLetters/{letter.id}",
        step=step_name(letter.task, letter.step),
        agent=letter.agent,
        failure=failure_to_proto(letter.failure),
        deaths=letter.deaths,
        attempt=letter.attempt,
        create_time=timestamp(letter.created_ms),
        attempts=[attempt_message(attempt) for attempt in attempts],
        input=json_payload(input_) if input_ else None,
    )


def metrics_message(record: TaskRecord, steps: Sequence[StepRecord], now_ms: int) -> task_pb2.TaskMetrics:
    """Latency and cost of a task, as the ledger counted them."""
    return task_pb2.TaskMetrics(
        name=task_name(record.id),
        elapsed_ms=max(0, (record.ended_ms or now_ms) - record.counted_from_ms),
        planning_ms=max(0, record.planned_ms - record.counted_from_ms) if record.planned_ms else 0,
        wait_ms=record.wait_ms,
        run_ms=record.run_ms,
        usage=usage_to_proto(record.usage),
        steps=[
            task_pb2.StepMetrics(
                step=step.name,
                agent=step.agent,
                attempts=step.attempt,
                wait_ms=step.wait_ms,
                run_ms=step.run_ms,
                usage=usage_to_proto(step.usage),
            )
            for step in steps
        ],
    )


def call_message(task_id: str, step: str, call: CallRecord) -> task_pb2.ModelCall:
    """A model call; of the planner, if no step is named."""
    return task_pb2.ModelCall(
        step=step_name(task_id, step) if step else task_name(task_id),
        attempt=call.attempt,
        call=call.number,
        model=call.model,
        endpoint=call.endpoint,
        state=CALL_STATE_TO_PROTO[call.state],
        usage=usage_to_proto(call.usage),
        start_time=timestamp(call.started_ms),
        end_time=_time(call.ended_ms),
        prompt=_kept_text(call.prompt),
        response=_kept_text(call.response),
    )


def _kept_text(text: bytes) -> task_pb2.Payload | None:
    """What was kept of a call, as the JSON it is; as plain text if it was cut."""
    if not text:
        return None
    media_type = "text/plain" if json_defect(text) else JSON_MEDIA_TYPE
    return task_pb2.Payload(media_type=media_type, data=text)


def usage_row_message(row: UsageRow, step: str) -> task_pb2.UsageRow:
    """A row of usage; `step` is the name of its step."""
    return task_pb2.UsageRow(
        day=row.day, step=step, agent=row.agent, model=row.model, usage=usage_to_proto(row.usage), calls=row.calls
    )


def tenant_budget_message(budget: TenantBudget) -> task_pb2.TenantBudget:
    """What a tenant may spend, and has."""
    return task_pb2.TenantBudget(
        max_total_microusd=budget.max_total_microusd,
        max_day_microusd=budget.max_day_microusd,
        spent_total_microusd=budget.spent_total_microusd,
        spent_day_microusd=budget.spent_day_microusd,
        reserved_microusd=budget.reserved_microusd,
    )


def limit_message(limit: LimitRecord) -> task_pb2.Limit:
    """A limit, with who holds permits and who waits."""
    return task_pb2.Limit(
        name=f"limits/{limit.name}",
        max_concurrency=limit.rates.max_concurrency,
        requests_per_minute=limit.rates.requests_per_minute,
        tokens_per_minute=limit.rates.tokens_per_minute,
        held=limit.held,
        waiting=limit.waiting,
        blocked_until=_time(limit.blocked_until_ms),
        learned_concurrency=limit.learned.max_concurrency,
        learned_requests_per_minute=limit.learned.requests_per_minute,
        learned_tokens_per_minute=limit.learned.tokens_per_minute,
    )


def agent_message(record: AgentRecord) -> task_pb2.Agent:
    """An announced agent."""
    return task_pb2.Agent(
        name=f"agents/{record.name}",
        description=record.description,
        input_schema=record.input_schema,
        output_schema=record.output_schema,
        max_batch=record.max_batch,
        live_workers=record.live_workers,
        waiting_steps=record.waiting_steps,
        queued_batches=record.queued_batches,
        paused=record.paused,
    )
