"""Plans as messages and as domain values, with the checks that need one step alone.

Whether the steps fit together and fit the agents is `waybill.core.validation`'s to say.
"""

from __future__ import annotations

from waybill.api.v1 import task_pb2
from waybill.core.limits import MAX_INPUT_BYTES, MAX_PLAN_INPUT_BYTES, MAX_PLAN_STEPS
from waybill.core.plan import Plan, PlanStep, RetryPolicy
from waybill.errors import InvalidPlan, Violation
from waybill.rpc.payloads import json_payload, payload_defect

MAX_ATTEMPTS = 100
MAX_INITIAL_BACKOFF_MS = 3_600_000
MAX_BACKOFF_MS = 86_400_000
MAX_RUN_TIMEOUT_MS = 86_400_000
MIN_MULTIPLIER = 1.0
MAX_MULTIPLIER = 10.0

_RETRY = RetryPolicy()
_RUN_TIMEOUT_MS = PlanStep(name="", agent="").run_timeout_ms


def plan_from_proto(plan: task_pb2.Plan) -> Plan:
    """The plan, defaults filled in. Raises `InvalidPlan` with every violation of `plan_violations`."""
    violations = plan_violations(plan)
    if violations:
        raise InvalidPlan.of(violations)
    return Plan(tuple(_step_from_proto(step) for step in plan.steps))


def plan_to_proto(plan: Plan) -> task_pb2.Plan:
    """The plan as a message, every field set."""
    return task_pb2.Plan(steps=[_step_to_proto(step) for step in plan.steps])


def plan_violations(plan: task_pb2.Plan) -> list[Violation]:
    """What is wrong with sizes, inputs, retry policies and timeouts; fields are paths such as `plan.steps[2].input`."""
    if not plan.steps:
        return [Violation("plan.steps", "is empty; a plan needs at least one step")]
    if len(plan.steps) > MAX_PLAN_STEPS:
        return [Violation("plan.steps", f"has {len(plan.steps)} steps, over the limit of {MAX_PLAN_STEPS}; split it")]
    found: list[Violation] = []
    total_bytes = sum(len(step.input.data) for step in plan.steps)
    if total_bytes > MAX_PLAN_INPUT_BYTES:
        limit = f"over the limit of {MAX_PLAN_INPUT_BYTES}; send large data as documents"
        found.append(Violation("plan.steps", f"the inputs have {total_bytes} bytes in all, {limit}"))
    for position, step in enumerate(plan.steps):
        field = f"plan.steps[{position}]"
        defect = payload_defect(step.input, MAX_INPUT_BYTES, must_be_object=True)
        if defect:
            found.append(Violation(f"{field}.input", defect))
        _check(found, f"{field}.run_timeout_ms", step.run_timeout_ms or 1, 1, MAX_RUN_TIMEOUT_MS)
        if step.HasField("retry"):
            _check_retry(found, f"{field}.retry", step.retry)
    return found


def _check_retry(found: list[Violation], field: str, retry: task_pb2.RetryPolicy) -> None:
    _check(found, f"{field}.max_attempts", retry.max_attempts or 1, 1, MAX_ATTEMPTS)
    _check(found, f"{field}.initial_backoff_ms", retry.initial_backoff_ms, 0, MAX_INITIAL_BACKOFF_MS)
    _check(found, f"{field}.max_backoff_ms", retry.max_backoff_ms, 0, MAX_BACKOFF_MS)
    if retry.HasField("multiplier"):
        _check(found, f"{field}.multiplier", retry.multiplier, MIN_MULTIPLIER, MAX_MULTIPLIER)


def _check(found: list[Violation], field: str, value: float, low: float, high: float) -> None:
    """Note a value outside its range; NaN is outside every range."""
    if not low <= value <= high:
        found.append(Violation(field, f"is {value}, and must lie between {low} and {high}"))


def _step_from_proto(step: task_pb2.PlanStep) -> PlanStep:
    return PlanStep(
        name=step.name,
        agent=step.agent,
        input=step.input.data or b"{}",
        after=tuple(step.after),
        retry=_retry_from_proto(step.retry) if step.HasField("retry") else _RETRY,
        run_timeout_ms=step.run_timeout_ms or _RUN_TIMEOUT_MS,
    )


def _retry_from_proto(retry: task_pb2.RetryPolicy) -> RetryPolicy:
    def given(field: str) -> bool:
        return retry.HasField(field)  # type: ignore[arg-type]

    return RetryPolicy(
        max_attempts=retry.max_attempts or _RETRY.max_attempts,
        initial_backoff_ms=retry.initial_backoff_ms if given("initial_backoff_ms") else _RETRY.initial_backoff_ms,
        max_backoff_ms=retry.max_backoff_ms if given("max_backoff_ms") else _RETRY.max_backoff_ms,
        multiplier=retry.multiplier if given("multiplier") else _RETRY.multiplier,
    )


def _step_to_proto(step: PlanStep) -> task_pb2.PlanStep:
    return task_pb2.PlanStep(
        name=step.name,
        agent=step.agent,
        input=json_payload(step.input),
        after=step.after,
        retry=task_pb2.RetryPolicy(
            max_attempts=step.retry.max_attempts,
            initial_backoff_ms=step.retry.initial_backoff_ms,
            max_backoff_ms=step.retry.max_backoff_ms,
            multiplier=step.retry.multiplier,
        ),
        run_timeout_ms=step.run_timeout_ms,
    )
