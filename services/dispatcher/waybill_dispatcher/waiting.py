"""Why nothing moves: what is paused, what nobody serves, and who is waited for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from waybill.core.task import StepState, TaskState
from waybill.ledger.reads import Reads
from waybill.ledger.records import StepRecord, TaskRecord
from waybill_dispatcher.directory import AgentDirectory

PAUSED = "the task is paused; resume it to go on"
_REASONS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Standstill:
    """What keeps steps of one task from starting."""

    task_paused: bool = False
    tenant_paused: bool = False
    paused_agents: frozenset[str] = frozenset()
    idle_agents: frozenset[str] = frozenset()

    def reason(self, step: StepRecord) -> str:
        """Why a step does not go on; empty if nothing is in its way."""
        if step.state is StepState.WAITING and step.question is not None:
            return f"step {step.name} waits for an answer: {step.question.prompt}"
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
        return ""

    def reasons(self, steps: Iterable[StepRecord]) -> str:
        """Why the steps of a task do not go on, each reason once, and of many only the first."""
        found = list(dict.fromkeys(reason for step in steps if (reason := self.reason(step))))
        if self.task_paused:
            found = [PAUSED, *(reason for reason in found if reason != PAUSED)]
        more = [f"and {len(found) - _REASONS_SHOWN} more"] if len(found) > _REASONS_SHOWN else []
        return "; ".join(found[:_REASONS_SHOWN] + more)


async def standstill(ledger: Reads, directory: AgentDirectory, task: TaskRecord) -> Standstill:
    """What keeps steps of a task from starting now. Raises Unavailable."""
    if task.state not in (TaskState.RUNNING, TaskState.PAUSED):
        return Standstill()
    agents = (await directory.records()).values()
    return Standstill(
        task_paused=task.state is TaskState.PAUSED,
        tenant_paused=await ledger.is_paused(task.tenant),
        paused_agents=frozenset(agent.name for agent in agents if agent.paused),
        idle_agents=frozenset(agent.name for agent in agents if agent.live_workers == 0),
    )
