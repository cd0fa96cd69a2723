"""How the plan of a task stands: its steps as the planner is told of them, and as patches are checked against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from waybill.api.v1 import planner_pb2, task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.limits import KIB, MIB
from waybill.core.patching import KnownStep
from waybill.core.task import Failure, StepState
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentRecord, RevisionLease, StepRecord
from waybill.rpc.budgets import policy_to_proto
from waybill.rpc.enums import STEP_STATE_TO_PROTO
from waybill.rpc.events import failure_to_proto
from waybill.rpc.payloads import json_payload
from waybill_dispatcher.views import agent_message, question_message

MAX_SHOWN_OUTPUT_BYTES = 16 * KIB
MAX_SHOWN_BYTES = 1 * MIB
"""Most that the outputs, and the inputs, of a plan have together where the planner is told of it."""
_PAGE_STEPS = 200


async def read_steps(ledger: Ledger, task: str) -> list[StepRecord]:
    """All steps of a task, their outputs cut. Raises NotFound and Unavailable."""
    count = (await ledger.task(task)).step_count
    steps: list[StepRecord] = []
    for first in range(1, count + 1, _PAGE_STEPS):
        page = await ledger.steps(task, first, min(first + _PAGE_STEPS - 1, count))
        steps += [replace(step, output=step.output[:MAX_SHOWN_OUTPUT_BYTES]) for step in page]
    return steps


def failed_numbers(steps: Sequence[StepRecord]) -> list[int]:
    """The failed steps that no patch has made up for."""
    return [step.number for step in steps if step.state is StepState.FAILED and not step.dropped]


def known_steps(steps: Sequence[StepRecord]) -> list[KnownStep]:
    """The steps as patches are checked against them."""
    return [KnownStep(step.name, step.state, step.dependencies, step.dropped) for step in steps]


def revision_request(
    lease: RevisionLease, steps: Sequence[StepRecord], agents: Sequence[AgentRecord], policy: TaskPolicy
) -> planner_pb2.RevisePlanRequest:
    """What the planner is asked."""
    failed = [step for step in steps if step.number in lease.failed]
    failure = failed[0].failure if failed else None
    return planner_pb2.RevisePlanRequest(
        goal=lease.goal,
        steps=_planned(steps, {number for step in failed for number in (step.number, *step.dependencies)}),
        agents=[agent_message(record) for record in agents],
        paths=lease.paths,
        policy=policy_to_proto(policy),
        failure=failure_to_proto(failure or Failure("REPLAN", "a step asked for another plan")),
        step=failed[0].name if failed else "",
    )


def _planned(steps: Sequence[StepRecord], first: set[int]) -> list[planner_pb2.PlannedStep]:
    """The steps; of long plans with what the `first` of them took and gave, and of others while there is room."""
    names = {step.number: step.name for step in steps}
    left = [MAX_SHOWN_BYTES, MAX_SHOWN_BYTES]
    shown: dict[int, planner_pb2.PlannedStep] = {}
    for step in sorted(steps, key=lambda step: (step.number not in first, step.number)):
        texts = []
        for at, text in enumerate((step.input, step.output)):
            texts.append(text if len(text) <= left[at] else b"")
            left[at] -= len(texts[-1])
        shown[step.number] = _planned_step(step, [names[number] for number in step.dependencies], *texts)
    return [shown[step.number] for step in steps]


def _planned_step(step: StepRecord, after: Sequence[str], input_: bytes, output: bytes) -> planner_pb2.PlannedStep:
    return planner_pb2.PlannedStep(
        step=task_pb2.PlanStep(
            name=step.name,
            agent=step.agent,
            input=json_payload(input_) if input_ else None,
            after=after,
            when=step.when,
            allow_skipped=step.allow_skipped,
            question=question_message(step.question) if step.question else None,
        ),
        state=STEP_STATE_TO_PROTO[step.state],
        output=json_payload(output) if output else None,
        failure=failure_to_proto(step.failure),
        dropped=step.dropped,
    )
