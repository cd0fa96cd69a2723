"""The sources of steps that a model writes: those of the task, whichever the model names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from waybill.core.plan import PlanStep
from waybill.core.references import escape
from waybill_planner.goal_plan import RETRIEVER


def with_sources(steps: Iterable[PlanStep], paths: Sequence[str]) -> tuple[PlanStep, ...]:
    """The steps, of which those of the retriever read the task's paths and no others."""
    return tuple(_with_sources(step, paths) for step in steps)


def _with_sources(step: PlanStep, paths: Sequence[str]) -> PlanStep:
    if step.agent != RETRIEVER:
        return step
    value = msgspec.json.decode(step.input)
    return replace(step, input=msgspec.json.encode({**value, "paths": [escape(path) for path in paths]}))
