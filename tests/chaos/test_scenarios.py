"""Scenarios come from the seed and their number alone, and each is a submission that the product accepts."""

from __future__ import annotations

from pathlib import Path

from waybill_worker.agents.tools import tools

from chaos import agents
from chaos.scenarios import scenario
from waybill.agent import AgentDefinition
from waybill.core.plan import AgentSchema
from waybill.core.validation import link
from waybill.rpc import conversion

FOLDER = Path("/nowhere")
SCHEMAS = {
    definition.name: AgentSchema(definition.name, "", definition.input_schema)
    for definition in (*vars(agents).values(), tools)
    if isinstance(definition, AgentDefinition)
}


def test_the_same_number_always_makes_the_same_scenario() -> None:
    assert [scenario(3, number, FOLDER) for number in range(50)] == [
        scenario(3, number, FOLDER) for number in range(50)
    ]
    assert scenario(3, 1, FOLDER) != scenario(4, 1, FOLDER)


def test_every_scenario_is_a_goal_or_a_valid_plan() -> None:
    made = [scenario(1, number, FOLDER) for number in range(300)]
    assert {"chain", "fan", "diamond", "failing", "stream", "goal", "cancelled", "talking", "paying"} <= {
        one.name for one in made
    }
    for one in made:
        assert (one.plan is None) != (not one.goal)
        if one.plan is not None:
            link(conversion.plan_from_proto(conversion.plan_from_json(one.plan)), SCHEMAS)
