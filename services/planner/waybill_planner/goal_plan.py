"""The plan for a goal: for each question `retriever` -> `analyst`, side by side, and one `writer` that joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from waybill.core.plan import Plan, PlanStep
from waybill.core.references import escape
from waybill_planner.questions import questions_of

RETRIEVER = "retriever"
ANALYST = "analyst"
WRITER = "writer"
AGENTS = (RETRIEVER, ANALYST, WRITER)
"""The agents that every goal's plan needs."""


def plan_of_goal(goal: str, paths: Sequence[str] = ()) -> Plan:
    """The plan for a goal that holds at least one visible character.

    Steps are `retrieve-<i>` and `analyse-<i>` for question number i, from 1, and `write`. The goal's words become
    data: what looks like a reference in them is none.
    """
    steps: list[PlanStep] = []
    sections: list[str] = []
    sources = [escape(path) for path in paths]
    for number, question in enumerate(map(escape, questions_of(goal)), start=1):
        retrieve, analyse = f"retrieve-{number}", f"analyse-{number}"
        steps.append(_step(retrieve, RETRIEVER, {"question": question, "paths": sources}))
        passages, warnings = f"${{{retrieve}.passages}}", f"${{{retrieve}.warnings}}"
        steps.append(_step(analyse, ANALYST, {"question": question, "passages": passages, "warnings": warnings}))
        sections.append(f"${{{analyse}}}")
    steps.append(_step("write", WRITER, {"goal": "${task.goal}", "sections": sections}))
    return Plan(tuple(steps))


def _step(name: str, agent: str, value: dict[str, Any]) -> PlanStep:
    return PlanStep(name=name, agent=agent, input=msgspec.json.encode(value))
