"""Who is asked while a plan runs in memory: the people whom steps ask, and the planner when a plan is to be revised."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from waybill.core.patch import Patch
from waybill.core.task import Failure
from waybill.testing.plan_input import patch_of
from waybill.testing.plan_result import StepRun


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that a step asks: `input` is what the answer is about, decoded, None if it has unresolved parts."""

    step: str
    prompt: str
    input: Any


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of the plan that is asked for, as `step` failed for good, with `failure`; `steps` are all of them."""

    goal: str
    step: str
    failure: Failure
    steps: Mapping[str, StepRun]


Answers = Mapping[str, Any] | Callable[[Asked], Any]
"""Answers by step, each a JSON value or a function of the question; or one function for all questions."""
Replan = Callable[[Revision], Any]
"""Gives a `Patch`, its JSON form, or None for no revision; async or plain."""


class People:
    """Answers what a test has answers for."""

    def __init__(self, answers: Answers, replan: Replan | None) -> None:
        self._answers = answers
        self._replan = replan

    @property
    def can_replan(self) -> bool:
        """Whether there is anybody to revise plans."""
        return self._replan is not None

    def has_answer(self, step: str) -> bool:
        """Whether a step's question will be answered."""
        return callable(self._answers) or step in self._answers

    async def answer(self, asked: Asked) -> Any:
        """The answer to a question of a step for which there is one."""
        given = self._answers if callable(self._answers) else self._answers[asked.step]
        return await _value(given(asked)) if callable(given) else given

    async def revise(self, revision: Revision) -> Patch | None:
        """A patch for a plan, if there is one. Raises `InvalidArgument` for what is no patch."""
        found = await _value(self._replan(revision)) if self._replan is not None else None
        return None if found is None else patch_of(found)


async def _value(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given
