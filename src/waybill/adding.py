"""The steps that an attempt adds to its plan: collected while it runs, and made a patch when it has succeeded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic_core import to_json

from waybill.core.limits import AGENT_NAME, MAX_INPUT_BYTES, MAX_PLAN_STEPS, RESERVED_STEP_NAMES, STEP_NAME
from waybill.core.patch import Patch
from waybill.core.plan import PlanStep, RetryPolicy
from waybill.errors import Permanent


class AddedStep(msgspec.Struct, frozen=True):
    """One step that is added; with `result` its output stands for that of the step that adds it."""

    step: PlanStep
    result: bool = False


def added_step(
    name: str,
    agent: str,
    input: Any,
    *,
    after: Sequence[str] = (),
    when: Sequence[str] = (),
    limits: Sequence[str] = (),
    allow_skipped: bool = False,
    retry: RetryPolicy | None = None,
    run_timeout_ms: int = 300_000,
    result: bool = False,
) -> AddedStep:
    """The step of these arguments. Raises Permanent (PATCH_INVALID) naming all that can never be added."""
    from waybill.core.step_rules import range_defects

    if isinstance(after, str) or isinstance(when, str) or isinstance(limits, str):
        raise patch_invalid(f"{name}: after, when and limits are lists of texts")
    problems = []
    data = b"{}"
    try:
        data = to_json({} if input is None else input, inf_nan_mode="constants")
        json.loads(data, parse_constant=_refuse)
    except Exception as error:  # several types come from there
        problems.append(f"input: has no JSON form ({type(error).__name__})")
    step = PlanStep(
        name=str(name),
        agent=str(agent),
        input=data,
        after=tuple(map(str, after)),
        retry=retry or RetryPolicy(),
        run_timeout_ms=run_timeout_ms,
        when=tuple(map(str, when)),
        allow_skipped=bool(allow_skipped),
        limits=tuple(map(str, limits)),
    )
    if not STEP_NAME.fullmatch(step.name) or step.name in RESERVED_STEP_NAMES:
        problems.append("name: use a lower-case letter, then up to 63 of a-z, 0-9, _ and -; `task` is taken")
    if not AGENT_NAME.fullmatch(step.agent):
        problems.append("agent: use a lower-case letter, then up to 63 of a-z, 0-9, _ and -")
    if len(data) > MAX_INPUT_BYTES:
        problems.append(f"input: is {len(data)} bytes; the limit is {MAX_INPUT_BYTES}")
    try:
        problems += [f"{path}: {problem}" for path, problem in range_defects(step)]
    except TypeError as error:
        problems.append(f"retry, run_timeout_ms: are of the wrong type ({error})")
    if problems:
        raise patch_invalid(f"{step.name[:80]}: {'; '.join(problems)}")
    return AddedStep(step, bool(result))


def patch_invalid(problem: str) -> Permanent:
    """The error of steps that cannot be added."""
    return Permanent(f"add_step: {problem}", reason="PATCH_INVALID")


class AddedSteps:
    """What one attempt adds. From any thread."""

    def __init__(self) -> None:
        self._added: list[AddedStep] = []

    @property
    def steps(self) -> tuple[PlanStep, ...]:
        """The steps, in the order in which they were added."""
        return tuple(added.step for added in self._added)

    def add(self, added: AddedStep) -> None:
        """Add one. Raises Permanent for a second result, a name that was used, and too many."""
        if any(other.step.name == added.step.name for other in self._added):
            raise patch_invalid(f"{added.step.name}: this attempt has added a step of that name already")
        if added.result and any(other.result for other in self._added):
            raise patch_invalid(f"{added.step.name}: another step is the result already; there can be one")
        if len(self._added) >= MAX_PLAN_STEPS:
            raise patch_invalid(f"{added.step.name}: a plan has at most {MAX_PLAN_STEPS} steps")
        self._added.append(added)

    def patch(self, own_step: str) -> Patch | None:
        """All of it as a patch, for the step `own_step`; None if there is nothing."""
        if not self._added:
            return None
        results = [added.step.name for added in self._added if added.result]
        substitutes = {own_step: results[0]} if results else {}
        return Patch(steps=self.steps, substitutes=substitutes, reason=f"added by step {own_step}")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
