"""Why nothing moves: what is paused, limited or not decided yet, what nobody serves, and who is waited for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from waybill.core.task import StepState, TaskState
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRecord, TaskRecord
from waybill.rpc.events import timestamp
from waybill_dispatcher.directory import AgentDirectory

PAUSED = "the task is paused; resume it to go on"
_REASONS_SHOWN = 5
_LOOKED_AT = 200
_GAP_READ_ALONG = 50


@dataclass(frozen=True, slots=True)
class Standstill:
    """What keeps steps of one task from starting. `lines` are limits in whose lines steps stand, by step number, and
    `undecided` steps whose conditions nobody has looked at yet.
    """

    task_paused: bool = False
    tenant_paused: bool = False
    paused_agents: frozenset[str] = frozenset()
    idle_agents: frozenset[str] = frozenset()
    lines: Mapping[int, str] = field(default_factory=dict)
    undecided: frozenset[int] = frozenset()
    revision: str = ""

    def holds(self, task: TaskRecord) -> bool:
        """Whether a step of a task that is ready may be kept from starting by something."""
        return (
            bool(self.lines)
            or self.tenant_paused
            or bool((self.paused_agents | self.idle_agents).intersection(task.agents))
        )

    def reason(self, step: StepRecord) -> str:
        """Why a step does not go on; empty if nothing is in its way."""
        if step.state is StepState.WAITING and step.question is not None:
            return f"step {step.name} waits for an answer: {step.question.prompt}"
        if step.state is StepState.PENDING and step.number in self.undecided:
            return PAUSED if self.task_paused else f"the conditions of step {step.name} are about to be looked at"
        if step.state is not StepState.READY:
            return ""
        if self.task_paused:
            return PAUSED
        if self.tenant_paused:
            return "the tenant is paused; resume it to go on"
        if step.agent in self.paused_agents:
            return f"agent {step.agent} is paused; resume it to go on"
        if step.agent in self.idle_agents:
            return f"no live worker serves agent {step.agent}"
        if step.number in self.lines:
            return f"waits for a permit of limits/{self.lines[step.number]}"
        return ""

    def reasons(self, steps: Iterable[StepRecord]) -> str:
        """Why the steps of a task do not go on, each reason once, and of many only the first."""
        found = list(dict.fromkeys(reason for reason in (self.revision, *map(self.reason, steps)) if reason))
        if self.task_paused:
            found = [PAUSED, *(reason for reason in found if reason != PAUSED)]
        more = ["and more"] if len(found) > _REASONS_SHOWN else []
        return "; ".join(found[:_REASONS_SHOWN] + more)


def begins_at(start_ms: int) -> str:
    """What a task waits for that begins later."""
    return f"begins at {timestamp(start_ms).ToJsonString()}"


async def waiting_reason(ledger: Ledger, directory: AgentDirectory, task: TaskRecord) -> str:
    """Why a task does not go on; empty if nothing is in its way. Raises NotFound if it was dropped meanwhile.

    Reads no more of the steps of a large plan than can be in the answer.
    """
    if task.state is TaskState.SCHEDULED:
        return begins_at(task.start_ms)
    if task.state is TaskState.PLANNING:
        return task.planning_note
    if task.state not in (TaskState.RUNNING, TaskState.PAUSED):
        return ""
    states = await ledger.step_states(task)
    held_up = await standstill(ledger, directory, task, dict(enumerate(states, 1)))
    wanted = _in_state(states, StepState.WAITING, _REASONS_SHOWN + 1)
    wanted += sorted(held_up.undecided)[: _REASONS_SHOWN + 1]
    if held_up.holds(task):
        wanted += _in_state(states, StepState.READY, _LOOKED_AT)
    steps: list[StepRecord] = []
    for first, last in _ranges(sorted(wanted)):
        steps += await ledger.steps(task.id, first, last, payloads=False)
    return held_up.reasons(steps)


def _in_state(states: Sequence[StepState], state: StepState, most: int) -> list[int]:
    return [number for number, known in enumerate(states, 1) if known is state][:most]


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, first and last, whose gaps are too large to be read along."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number - found[-1][1] <= _GAP_READ_ALONG:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


async def standstill(
    ledger: Ledger, directory: AgentDirectory, task: TaskRecord, states: Mapping[int, StepState]
) -> Standstill:
    """What keeps steps of a task from starting now; `states` are those of the steps, by number, that are looked at.

    Raises Unavailable.
    """
    if task.state not in (TaskState.RUNNING, TaskState.PAUSED):
        return Standstill()
    agents = (await directory.records()).values()
    ready = [number for number, state in states.items() if state is StepState.READY][:_LOOKED_AT]
    pending = [number for number, state in states.items() if state is StepState.PENDING][:_LOOKED_AT]
    note = f": {task.planning_note}" if task.planning_note else ""
    return Standstill(
        task_paused=task.state is TaskState.PAUSED,
        tenant_paused=await ledger.is_paused(task.tenant),
        paused_agents=frozenset(agent.name for agent in agents if agent.paused),
        idle_agents=frozenset(agent.name for agent in agents if agent.live_workers == 0),
        lines=await ledger.lines_of(task, ready),
        undecided=frozenset(await ledger.undecided(task.id, pending)),
        revision=f"the plan is being revised{note}" if task.revising else "",
    )
