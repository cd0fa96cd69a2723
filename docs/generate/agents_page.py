"""The page of the agents that ship: what they do, what they take and what they return."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tables import code, table

from waybill.agent import AgentDefinition, load_agents

NAMES = ("retriever", "analyst", "writer", "llm", "tools", "http", "python")
MODULES = tuple(f"waybill_worker.agents.{name}" for name in NAMES)

_INTRODUCTION = """
# The agents that ship

Three of the agents that ship with Waybill answer a question from sources together: `retriever` finds passages,
`analyst` says what they say, `writer` joins that into a report. Without a model every claim is a sentence that stands
in a source. `llm` asks a model, `tools` lets one use tools, `http` fetches, and `python` runs a snippet.
[Use the agents that ship](../howto/shipped-agents.md) says more.

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
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(map(_type, field["anyOf"])))
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    if "enum" in field:
        return ", ".join(code(str(value)) for value in field["enum"])
    return str(field.get("type", "any JSON"))


def _meaning(field: Mapping[str, Any]) -> str:
    return "; ".join([*([field["description"]] if "description" in field else []), *_limits(field)])


def _limits(field: Mapping[str, Any]) -> Iterator[str]:
    for key, words in (
        ("minimum", "from {}"),
        ("exclusiveMinimum", "over {}"),
        ("maximum", "to {}"),
        ("minItems", "at least {}"),
        ("maxItems", "at most {}"),
        ("maxLength", "at most {} characters"),
    ):
        if key in field and not (key == "minimum" and "from " in field.get("description", "")):
            yield words.format(f"{field[key]:,}")
