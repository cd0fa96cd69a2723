"""What one step must hold by itself, whatever the rest of its plan: ranges of its numbers, and what it asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import reduce

import msgspec

from waybill.core.keywords import Allowance
from waybill.core.limits import (
    LIMIT_KEY,
    MAX_ANSWER_TIMEOUT_MS,
    MAX_CONDITIONS,
    MAX_FINAL_REASONS,
    MAX_INPUT_BYTES,
    MAX_LIMIT_KEYS,
    MAX_PROMPT_CHARS,
    MAX_QUEUE_TIMEOUT_MS,
    MAX_REASON_CHARS,
)
from waybill.core.plan import PlanStep, Question, RetryPolicy
from waybill.core.references import below
from waybill.core.schema import check_schema, misfits
from waybill.core.violations import shown
from waybill.errors import InvalidArgument

MAX_ATTEMPTS = 100
MAX_INITIAL_BACKOFF_MS = 3_600_000
MAX_BACKOFF_MS = 86_400_000
MAX_RUN_TIMEOUT_MS = 86_400_000
MIN_MULTIPLIER = 1.0
MAX_MULTIPLIER = 10.0
REASON = re.compile(rf"[A-Z][A-Z0-9_]{{0,{MAX_REASON_CHARS - 1}}}")

NOT_FOR_QUESTIONS = "has no meaning for a step that asks a person; leave it out, and set question.timeout_ms"
"""What is wrong with a field of a question's step that is about running an agent."""

_RETRY = RetryPolicy()
_RUN_TIMEOUT_MS = PlanStep(name="").run_timeout_ms

Defect = tuple[str, str]
"""A field's path below the step, and what is wrong with it."""


def range_defects(step: PlanStep) -> Iterator[Defect]:
    """Numbers out of their range and reasons that are none; NaN is outside every range."""
    retry = step.retry
    for name, value, lowest, highest in (
        ("retry.max_attempts", retry.max_attempts, 1, MAX_ATTEMPTS),
        ("retry.initial_backoff_ms", retry.initial_backoff_ms, 0, MAX_INITIAL_BACKOFF_MS),
        ("retry.max_backoff_ms", retry.max_backoff_ms, 0, MAX_BACKOFF_MS),
        ("retry.multiplier", retry.multiplier, MIN_MULTIPLIER, MAX_MULTIPLIER),
        ("retry.jitter", retry.jitter, 0.0, 1.0),
        ("run_timeout_ms", step.run_timeout_ms, 1, MAX_RUN_TIMEOUT_MS),
        ("queue_timeout_ms", step.queue_timeout_ms, 0, MAX_QUEUE_TIMEOUT_MS),
        ("question.timeout_ms", step.question.timeout_ms if step.question else 0, 0, MAX_ANSWER_TIMEOUT_MS),
    ):
        if not lowest <= value <= highest:
            yield name, f"is {value}, and must lie between {lowest} and {highest}"
    yield from _reason_defects(retry)
    yield from _limit_defects(step)
    if len(step.when) > MAX_CONDITIONS:
        yield "when", f"has {len(step.when)} conditions, and at most {MAX_CONDITIONS} are allowed"


def question_defects(step: PlanStep, allowance: Allowance) -> Iterator[Defect]:
    """What is wrong with a step that asks a person. Nothing is, if it does not."""
    question = step.question
    if question is None:
        return
    if step.agent:
        yield "question", "is given together with an agent; a step has exactly one of agent and question"
    for name, is_set in (
        ("retry", step.retry != _RETRY),
        ("run_timeout_ms", step.run_timeout_ms != _RUN_TIMEOUT_MS),
        ("queue_timeout_ms", step.queue_timeout_ms != 0),
        ("limits", bool(step.limits)),
    ):
        if is_set:
            yield name, NOT_FOR_QUESTIONS
    if not 1 <= len(question.prompt) <= MAX_PROMPT_CHARS or not question.prompt.strip():
        yield (
            "question.prompt",
            f"has {len(question.prompt)} characters, and must say in 1 to {MAX_PROMPT_CHARS} what is asked; "
            "what the answer needs to be seen with belongs into the step's input",
        )
    yield from _answer_defects(question, allowance)


def _reason_defects(retry: RetryPolicy) -> Iterator[Defect]:
    if len(retry.final_reasons) > MAX_FINAL_REASONS:
        problem = f"has {len(retry.final_reasons)} entries, and at most {MAX_FINAL_REASONS} are allowed"
        yield "retry.final_reasons", problem
        return
    for position, reason in enumerate(retry.final_reasons):
        if not REASON.fullmatch(reason):
            rule = f'a capital letter, then up to {MAX_REASON_CHARS - 1} of A-Z, 0-9 and "_", as in "AGENT_ERROR"'
            yield f"retry.final_reasons[{position}]", f"{shown(reason)} is no failure reason; write {rule}"


def _limit_defects(step: PlanStep) -> Iterator[Defect]:
    if len(step.limits) > MAX_LIMIT_KEYS:
        yield "limits", f"has {len(step.limits)} keys, and at most {MAX_LIMIT_KEYS} are allowed"
        return
    for position, key in enumerate(step.limits):
        if not LIMIT_KEY.fullmatch(key):
            rule = 'a letter or digit, then up to 63 of A-Z, a-z, 0-9, ".", "_" and "-"'
            yield f"limits[{position}]", f"{shown(key)} is no limit key; write {rule}"
        elif key in step.limits[:position]:
            yield f"limits[{position}]", f"{shown(key)} is named twice"


def _answer_defects(question: Question, allowance: Allowance) -> Iterator[Defect]:
    try:
        if question.answer_schema:
            check_schema(question.answer_schema, allowance)
    except InvalidArgument as error:
        yield "question.answer_schema", error.message
        return
    if not question.default_answer:
        return
    if len(question.default_answer) > MAX_INPUT_BYTES:
        size = f"has {len(question.default_answer)} bytes, and at most {MAX_INPUT_BYTES} are allowed"
        yield "question.default_answer", size
        return
    try:
        answer = msgspec.json.decode(question.default_answer)
    except (ValueError, RecursionError) as error:
        yield "question.default_answer", f"is not valid JSON: {error}"
        return
    try:
        for path, problem in misfits(question.answer_schema or "true", answer, allowance):
            yield reduce(below, path, "question.default_answer"), f"does not fit the answer schema: {problem}"
    except InvalidArgument as error:
        yield "question.answer_schema", error.message
