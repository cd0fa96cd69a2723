"""Errors become exit codes, and lines that say what to do next."""

from __future__ import annotations

import pytest

from waybill.cli import exits
from waybill.cli.advice import advice, typed
from waybill.errors import (
    AgentError,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
    Violation,
    WaybillError,
)


def ended_by(error: BaseException) -> int:
    """The exit code of a command that raises this."""

    async def command() -> int:
        raise error

    return exits.finish(command)


@pytest.mark.parametrize(
    ("error", "code", "next_step"),
    [
        (WaybillError("internal error"), exits.FAILED, ""),
        (AgentError("no"), exits.FAILED, ""),
        (InvalidArgument.of_field("--label", "'a' is not of the form key=value"), exits.USAGE, ""),
        (NotFound("there is no task x"), exits.USAGE, "`waybill list`"),
        (NotFound("the task has no step x"), exits.USAGE, "`waybill show TASK`"),
        (NotFound("deadLetters/x does not exist"), exits.USAGE, "`waybill dead list`"),
        (NotFound("there is no schedule x"), exits.USAGE, "`waybill schedule list`"),
        (AlreadyExists("request_id was used before"), exits.USAGE, "--request-id"),
        (FailedPrecondition("it is succeeded"), exits.USAGE, "`waybill show TASK`"),
        (FailedPrecondition("another suite uses it", reason="DATA_DIRECTORY_IN_USE"), exits.USAGE, ""),
        (OutOfRange("the cursor is too old"), exits.USAGE, "without a cursor"),
        (ResourceExhausted("the store is full"), exits.UNAVAILABLE, "more memory"),
        (Unavailable("the store is away"), exits.UNAVAILABLE, "repeat"),
        (Unavailable("no gateway answers", reason="GATEWAY_UNREACHABLE"), exits.UNAVAILABLE, "`waybill up`"),
        (KeyboardInterrupt(), exits.INTERRUPTED, ""),
        (BrokenPipeError(), exits.FAILED, ""),
    ],
    ids=repr,
)
def test_each_error_has_its_code_and_its_next_step(
    error: BaseException, code: int, next_step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended_by(error) == code
    assert code in exits.MEANINGS
    output, told = capsys.readouterr()
    assert output == ""
    if isinstance(error, WaybillError):
        assert told.startswith(f"waybill: {error.message}")
        assert next_step in told
        assert bool(next_step) == bool(advice(error))
    else:
        assert told == ""


@pytest.mark.parametrize(("count", "told"), [(1, 0), (2, 2), (20, 20), (25, 21)])
def test_of_many_violations_the_first_twenty_are_told(
    count: int, told: int, capsys: pytest.CaptureFixture[str]
) -> None:
    violations = [Violation(f"steps[{number}]", "no") for number in range(count)]
    ended_by(InvalidArgument("the plan will not do", violations))
    assert len(capsys.readouterr().err.splitlines()) == 1 + told


def test_a_field_of_the_api_is_called_as_it_was_typed() -> None:
    assert typed("request_id: must be visible") == "--request-id: must be visible"
    assert typed("plan.steps[0].agent: no such agent") == "plan.steps[0].agent: no such agent"
    assert typed("request_id was used before") == "request_id was used before"
