"""Every error of the project: one hierarchy, each class knowing its gRPC code and its stable reason.

Services raise these; `waybill.rpc` turns them into statuses with `google.rpc.ErrorInfo` and back again.
Messages are written for the caller: they name the field, the limit and what to do, never an internal detail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of a request that is wrong: its path, such as `plan.steps[2].agent`, and what to do about it."""

    field: str
    description: str


class WaybillError(Exception):
    """Base of all errors. `reason` is stable and upper snake case; `message` is for people."""

    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class InvalidArgument(WaybillError):
    """A request that can never be accepted as it is. Carries every violation that was found."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self, message: str, violations: Sequence[Violation] = (), *, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.violations = tuple(violations)

    @classmethod
    def of_field(cls, field: str, description: str) -> InvalidArgument:
        """The error for one wrong field."""
        return cls(f"{field}: {description}", [Violation(field, description)])

    @classmethod
    def unless_fitting(cls, field: str, description: str) -> _Fitting:
        """A context: raises the error for one field if what is made of its value inside does not go with its type."""
        return _Fitting(cls, field, description)


_MISFITS = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""What a value of another type than was expected leads to."""


class _Fitting:
    """One value that is being put where it belongs: made for each field of each submission, so it does little."""

    __slots__ = ("_description", "_field", "_kind")

    def __init__(self, kind: type[InvalidArgument], field: str, description: str) -> None:
        self._kind = kind
        self._field = field
        self._description = description

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is not None and isinstance(error, _MISFITS):
            raise self._kind.of_field(self._field, self._description) from error


class InvalidPlan(InvalidArgument):
    """A plan that cannot run: a cycle, an unknown agent, an input that does not fit, a cap crossed."""

    reason = "PLAN_INVALID"

    @classmethod
    def of(cls, violations: Sequence[Violation]) -> InvalidPlan:
        """The error for a plan's violations; the message names the first three."""
        shown = "; ".join(f"{v.field}: {v.description}" for v in violations[:3])
        more = f" (and {len(violations) - 3} more)" if len(violations) > 3 else ""
        return cls(f"the plan is not valid: {shown}{more}", violations)


class NotFound(WaybillError):
    """What the caller named does not exist, or belongs to another tenant."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(WaybillError):
    """A request id that was used before, for something else."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"


class FailedPrecondition(WaybillError):
    """The task is in a state that does not allow the call."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "WRONG_STATE"


class OutOfRange(WaybillError):
    """A cursor that cannot be gone on from: begin without one."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "CURSOR_EXPIRED"


class ResourceExhausted(WaybillError):
    """The store is full, or a cap was reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "STORE_FULL"


class Unavailable(WaybillError):
    """A service or the store cannot be reached now. The call may be repeated."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "STORE_UNAVAILABLE"


class AgentError(WaybillError):
    """Raised by an agent: this attempt failed; the step's retry policy decides what follows.

    `retry_after_seconds` is the least time before the next attempt, as a service's Retry-After tells; at most a day.
    """

    code = grpc.StatusCode.UNKNOWN
    reason = "AGENT_ERROR"

    def __init__(self, message: str, *, reason: str | None = None, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_seconds = retry_after_seconds


class Permanent(AgentError):
    """Raised by an agent: no further attempt can succeed, so the step fails at once."""

    reason = "AGENT_PERMANENT"


class Replan(AgentError):
    """Raised by an agent: its step fails for good, and the planner is asked for a revision of the plan."""

    reason = "REPLAN"


class BudgetExhausted(AgentError):
    """A model call would cross a budget: by the task's policy its step fails for good or waits for a person."""

    reason = "BUDGET_EXHAUSTED"


class EffectUnknown(AgentError):
    """Whether an effect happened is not known. Raised by the function of `Context.once` that cannot tell, and by
    `Context.once` itself when an earlier attempt ended in the middle and no reconcile hook can tell: a person decides.
    """

    reason = "EFFECT_UNKNOWN"


class SourceRefused(Permanent):
    """A source that no operator allowed, or that none of the named sources could be read."""

    reason = "SOURCE_REFUSED"
