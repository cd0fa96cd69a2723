"""Running a whole plan in memory: validated, linked, retried, revised and answered as by the services, without them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from pydantic_core import to_json

from waybill.agent import AgentDefinition
from waybill.core.budget import TaskPolicy
from waybill.core.plan import AgentSchema, Plan, PlanSource
from waybill.core.task import Document, Event
from waybill.models.scripted import ScriptedModel
from waybill.testing.context import MemoryContext
from waybill.testing.effects import MemoryEffects
from waybill.testing.plan_input import check_answered_steps, definitions_of, graph_of
from waybill.testing.plan_people import Answers, People, Replan
from waybill.testing.plan_result import PlanRun
from waybill.testing.plan_steps import Clock, MemoryStep
from waybill.testing.plan_task import MemoryTask
from waybill.testing.plan_worker import MemoryWorker


async def run_plan(
    plan: Plan | PlanSource | Mapping[str, Any] | str | os.PathLike[str],
    agents: Iterable[AgentDefinition | ModuleType | str],
    *,
    goal: str = "",
    input: Any = None,
    documents: Sequence[Document] = (),
    answers: Answers | None = None,
    replan: Replan | None = None,
    model: ScriptedModel | Mapping[str, ScriptedModel] | None = None,
    policy: TaskPolicy | None = None,
    effects: MemoryEffects | None = None,
    task: str = "task-1",
    tenant: str = "default",
    deadline_ms: int = 0,
    slots: int = 16,
    longest_run_seconds: float = 10.0,
) -> PlanRun:
    """Run a plan to its end, and return how it ended, whether it succeeded or not.

    The plan is one that a submission takes, or the path of a plan file. It is checked as by the service, against
    `agents`: definitions, modules of agents, or names of modules. Steps run side by side as on a worker with so many
    `slots`. Backoffs, timeouts of questions and the deadline take no time: whatever nothing but a wait fills is
    skipped. An attempt gets the time of its step, `longest_run_seconds` at most. `answers` are given to steps that ask
    a person; `replan` stands for the planner where a plan is to be revised; `model` answers all agents, or each by its
    name. Keep `effects` to see what `Context.once` knows, or to let an attempt crash, which counts as the death of its
    process.

    Raises `InvalidPlan` for a plan that the service would refuse, `InvalidArgument` for an answer that does not fit its
    question, `PlanStuck` if all that is left waits for answers that are not given.
    """
    definitions = definitions_of(agents)
    schemas = {
        agent.name: AgentSchema(agent.name, agent.description, agent.input_schema, agent.output_schema, agent.max_batch)
        for agent in definitions.values()
    }
    allowed = policy or TaskPolicy()
    graph = graph_of(plan, schemas, policy)
    if isinstance(answers, Mapping) and replan is None:
        check_answered_steps(graph, answers)
    memory = MemoryTask(graph, Clock(), goal=goal, input=to_json(input), policy=allowed, deadline_ms=deadline_ms)
    known = effects or MemoryEffects()

    def context_of(step: MemoryStep, tell: Callable[[Event], None], limit_seconds: float) -> MemoryContext:
        return MemoryContext(
            task=task,
            step=step.name,
            attempt=step.attempt,
            tenant=tenant,
            deadline=time.time() + limit_seconds,
            sent=tuple(documents),
            effects=known,
            hook=definitions[step.step.agent].reconcile,
            model=model.get(step.step.agent) if isinstance(model, Mapping) else model,
            allowed=allowed,
            tell=tell,
        )

    people = People(answers or {}, replan)
    await MemoryWorker(memory, schemas, definitions, people, context_of, slots, longest_run_seconds).run()
    return PlanRun.of(memory)
