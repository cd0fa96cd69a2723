"""The page of the agents that ship: what they do, what they take and what they return."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tables import code, table

from waybill.agent import AgentDefinition, load_agents

MODULES = (
    "waybill_worker.agents.retriever",
    "waybill_worker.agents.analyst",
    "waybill_worker.agents.writer",
    "waybill_worker.agents.tools",
)

_INTRODUCTION = """
# The agents that ship

Three agents ship with Waybill. Together they answer a question from sources: `retriever` finds passages, `analyst`
chooses sentences from them, `writer` joins them into a report. They are extractive. They use no model, so every claim
is a sentence that stands in a source.

A running suite tells the full JSON Schemas of all its agents: `waybill agents --json`.
"""


def page() -> str:
    """The page."""
    agents = load_agents(MODULES, entry_points=False).values()
    shared: dict[str, Any] = {}
    for agent in agents:
        for schema in (agent.input_schema, agent.output_schema):
            shared |= json.loads(schema).get("$defs", {})
    types = "".join(f"\n### {name}\n\n{_described(schema)}{_fields(schema)}" for name, schema in shared.items())
    return f"{_INTRODUCTION}{''.join(map(_section, agents))}\n## Types\n{types}"


def _section(agent: AgentDefinition) -> str:
    taken, returned = json.loads(agent.input_schema), json.loads(agent.output_schema)
    parts = [f"\n## {agent.name}\n\n{agent.description}\n"]
    parts.append(f"\nIt takes at most {agent.max_batch} steps in one batch.\n")
    parts.append(f"\n### Input of {agent.name}\n\n{_fields(taken)}")
    parts.append(f"\n### Output of {agent.name}\n\n{_described(returned)}{_fields(returned)}")
    return "".join(parts)


def _described(schema: Mapping[str, Any]) -> str:
    return f"{schema['description']}\n\n" if schema.get("description") else ""


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        (code(name), _type(field), "required" if name in required else _default(field), _meaning(field))
        for name, field in schema.get("properties", {}).items()
    )
    return table(("Field", "Type", "Default", "Meaning"), rows)


def _default(field: Mapping[str, Any]) -> str:
    return code(json.dumps(field["default"])) if "default" in field else ""


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if "enum" in field:
        return ", ".join(code(str(value)) for value in field["enum"])
    return str(field.get("type", "any JSON"))


def _meaning(field: Mapping[str, Any]) -> str:
    return "; ".join([*([field["description"]] if "description" in field else []), *_limits(field)])


def _limits(field: Mapping[str, Any]) -> Iterator[str]:
    for key, words in (
        ("minimum", "from {}"),
        ("maximum", "to {}"),
        ("minItems", "at least {}"),
        ("maxItems", "at most {}"),
        ("maxLength", "at most {} characters"),
    ):
        if key in field and not (key == "minimum" and "from " in field.get("description", "")):
            yield words.format(f"{field[key]:,}")
