"""Linking a plan that differs from a linked one in the inputs of its steps alone, as those of one program mostly do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from waybill.core.keywords import Allowance
from waybill.core.limits import MAX_PLAN_INPUT_BYTES
from waybill.core.plan import AgentSchema, Graph, LinkedStep
from waybill.core.references import may_hold_references
from waybill.core.schema import misfits
from waybill.core.validation import decoded_input
from waybill.errors import InvalidArgument


def takes_other_inputs(graph: Graph) -> bool:
    """Whether `with_inputs` may be used: each step runs an agent, and no input refers to anything."""
    return all(linked.step.question is None and not may_hold_references(linked.step.input) for linked in graph.steps)


def with_inputs(graph: Graph, inputs: Sequence[bytes], agents: Mapping[str, AgentSchema]) -> Graph | None:
    """The graph of the same plan with these inputs, one for each step, checked against the agents.

    None unless all of them fit and refer to nothing: then the plan has to be linked as a whole, which tells all that is
    wrong with it.
    """
    if sum(map(len, inputs)) > MAX_PLAN_INPUT_BYTES:
        return None
    allowance = Allowance()
    steps: list[LinkedStep] = []
    for linked, data in zip(graph.steps, inputs, strict=True):
        if may_hold_references(data):
            return None
        try:
            if misfits(agents[linked.step.agent].input_schema, decoded_input(data), allowance):
                return None
        except InvalidArgument:
            return None
        step = replace(linked.step, input=data)
        steps.append(LinkedStep(step, linked.dependencies, linked.dependents, (), linked.conditions))
    return Graph(tuple(steps), graph.failure_policy)
