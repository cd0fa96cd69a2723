"""Resource names in requests: what they name, or why they name nothing."""

from __future__ import annotations

import re

from waybill.core.limits import AGENT_NAME, LIMIT_NAME, SCHEDULE_NAME, STEP_NAME
from waybill.errors import InvalidArgument, NotFound

_TASK_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_LETTER_ID = re.compile(r"([A-Za-z0-9-]{1,64})\.(\d{1,9})")


def task_id_of(name: str, field: str = "name") -> str:
    """Id in "tasks/{task}". Raises InvalidArgument for anything else, NotFound for an id that cannot exist."""
    return _matched(_after(name, "tasks/", field, "a task", "tasks/{task}"), _TASK_ID, name)[0]


def step_of(name: str, field: str = "name") -> tuple[str, str]:
    """Task id and step name in "tasks/{task}/steps/{step}". Raises InvalidArgument and NotFound as `task_id_of`."""
    task, found, step = _after(name, "tasks/", field, "a step", "tasks/{task}/steps/{step}").partition("/steps/")
    if not found:
        raise _malformed(field, "a step", "tasks/{task}/steps/{step}")
    return _matched(task, _TASK_ID, name)[0], _matched(step, STEP_NAME, name)[0]


def letter_of(name: str, field: str = "name") -> tuple[str, str]:
    """Letter id and task id in "deadLetters/{letter}". Raises InvalidArgument and NotFound as `task_id_of`."""
    found = _matched(
        _after(name, "deadLetters/", field, "a dead letter", "deadLetters/{task}.{step number}"), _LETTER_ID, name
    )
    return found[0], found[1]


def agent_of(name: str, field: str = "name") -> str:
    """Name in "agents/{agent}". Raises InvalidArgument and NotFound as `task_id_of`."""
    return _matched(_after(name, "agents/", field, "an agent", "agents/{agent}"), AGENT_NAME, name)[0]


def parent_of_calls(name: str) -> tuple[str, str]:
    """Task id and step name, empty for the task as a whole, in the parent of model calls. Raises as `task_id_of`."""
    return step_of(name, "parent") if "/steps/" in name else (task_id_of(name, "parent"), "")


def limit_of(name: str, field: str = "limit.name") -> str:
    """Name in "limits/{kind}:{name}". Raises InvalidArgument for what can be none."""
    limit = _after(name, "limits/", field, "a limit", "limits/{kind}:{name}")
    if not LIMIT_NAME.fullmatch(limit):
        raise InvalidArgument.of_field(field, 'must be "limits/" and agent:, tenant:, key: or model: with a name')
    return limit


def schedule_of(name: str, field: str = "name") -> str:
    """Id in "schedules/{schedule}". Raises InvalidArgument and NotFound as `task_id_of`."""
    return _matched(_after(name, "schedules/", field, "a schedule", "schedules/{schedule}"), SCHEDULE_NAME, name)[0]


def _after(name: str, prefix: str, field: str, what: str, form: str) -> str:
    if not name.startswith(prefix) or len(name) == len(prefix):
        raise _malformed(field, what, form)
    return name.removeprefix(prefix)


def _malformed(field: str, what: str, form: str) -> InvalidArgument:
    return InvalidArgument.of_field(field, f'must be the name of {what}, "{form}"')


def _matched(part: str, pattern: re.Pattern[str], name: str) -> re.Match[str]:
    found = pattern.fullmatch(part)
    if found is None:
        raise NotFound(f"there is no {name[:200]}")
    return found
