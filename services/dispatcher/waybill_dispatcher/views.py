"""How stored tasks, steps and metrics look to callers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from waybill.api.v1 import task_pb2
from waybill.core.task import StepState, TaskState
from waybill.ledger.records import Accepted, AgentRecord, NewTask, StepRecord, TaskRecord
from waybill.rpc.enums import PRIORITY_TO_PROTO, STEP_STATE_TO_PROTO, TASK_STATE_TO_PROTO
from waybill.rpc.events import failure_to_proto, timestamp, usage_to_proto
from waybill.rpc.payloads import json_payload

_PREFIX = "tasks/"


def task_name(task_id: str) -> str:
    """Resource name of a task."""
    return _PREFIX + task_id


def accepted_task(task: NewTask, stored: Accepted) -> task_pb2.Task:
    """A task as it stands right after it was stored."""
    steps = len(task.graph.steps) if task.graph else 0
    return task_pb2.Task(
        name=task_name(stored.task),
        state=TASK_STATE_TO_PROTO[TaskState.RUNNING if steps else TaskState.PLANNING],
        goal=task.goal,
        priority=PRIORITY_TO_PROTO[task.priority],
        labels=task.labels,
        plan_revision=1 if steps else 0,
        step_count=steps,
        last_sequence=stored.last_sequence,
        usage=task_pb2.Usage(),
        create_time=timestamp(stored.created_ms),
    )


def task_message(record: TaskRecord, *, output: bytes = b"", waiting_reason: str = "") -> task_pb2.Task:
    """A stored task."""
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
        end_time=timestamp(record.ended_ms) if record.ended_ms else None,
    )


def joined_outputs(named: Sequence[tuple[str, bytes]]) -> bytes:
    """What a task returns: the output of its one last step, or an object of the outputs of several by step name."""
    if len(named) == 1:
        return named[0][1]
    return msgspec.json.encode({name: msgspec.Raw(output) for name, output in named})


def no_worker(agent: str) -> str:
    """Why a step of an agent that nobody serves does not start."""
    return f"no live worker serves agent {agent}"


def step_message(task_id: str, record: StepRecord, names: Sequence[str], idle_agents: Collection[str]) -> task_pb2.Step:
    """A stored step. `names` are the names of the steps it depends on."""
    waits = record.state is StepState.READY and record.agent in idle_agents
    return task_pb2.Step(
        name=f"{task_name(task_id)}/steps/{record.name}",
        agent=record.agent,
        state=STEP_STATE_TO_PROTO[record.state],
        attempt=record.attempt,
        failed_attempts=record.tries,
        depends_on=names,
        input=json_payload(record.input) if record.input else None,
        output=json_payload(record.output) if record.output else None,
        failure=failure_to_proto(record.failure),
        worker=record.worker,
        waiting_reason=no_worker(record.agent) if waits else "",
        usage=usage_to_proto(record.usage),
        ready_time=timestamp(record.ready_ms) if record.ready_ms else None,
        start_time=timestamp(record.started_ms) if record.started_ms else None,
        end_time=timestamp(record.ended_ms) if record.ended_ms else None,
    )


def metrics_message(record: TaskRecord, steps: Sequence[StepRecord], now_ms: int) -> task_pb2.TaskMetrics:
    """Latency and cost of a task, as the ledger counted them."""
    return task_pb2.TaskMetrics(
        name=task_name(record.id),
        elapsed_ms=max(0, (record.ended_ms or now_ms) - record.created_ms),
        planning_ms=max(0, record.planned_ms - record.created_ms) if record.planned_ms else 0,
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
    )
