"""What the edge requires of the fields that many calls share: names, page sizes, request ids."""

from __future__ import annotations

import re
import uuid

from waybill.core import limits
from waybill.errors import InvalidArgument, NotFound

MAX_PAGE_SIZE = 1_000

_TASK_ID = r"[A-Za-z0-9][A-Za-z0-9._~-]{0,199}"
_TASK_NAME = re.compile(rf"tasks/{_TASK_ID}")
_STEP_NAME = re.compile(rf"tasks/{_TASK_ID}/steps/{limits.STEP_NAME.pattern}")
_STEP_SHAPE = re.compile(r"tasks/[^/]+/steps/[^/]+")
_LETTER_NAME = re.compile(rf"deadLetters/{_TASK_ID}\.[0-9]{{1,5}}")
_AGENT_NAME = re.compile(rf"agents/{limits.AGENT_NAME.pattern}")
_LIMIT_NAME = re.compile(rf"limits/{limits.LIMIT_NAME.pattern}")
_SCHEDULE_NAME = re.compile(rf"schedules/{limits.SCHEDULE_NAME.pattern}")
_TEMPLATE_NAME = re.compile(rf"templates/{limits.TEMPLATE_NAME.pattern}")
_SHOWN_CHARS = 150


def task_name(field: str, name: str) -> str:
    """The name itself if a task can have it. Raises `InvalidArgument`, or `NotFound` for what no task is called."""
    if not name.startswith("tasks/") or name == "tasks/":
        raise InvalidArgument.of_field(field, 'must be the name of a task, "tasks/{task}"')
    return _existing(name, _TASK_NAME)


def step_name(field: str, name: str) -> str:
    """The name itself if a step can have it. Raises `InvalidArgument`, or `NotFound` for what no step is called."""
    if not _STEP_SHAPE.fullmatch(name):
        raise InvalidArgument.of_field(field, 'must be the name of a step, "tasks/{task}/steps/{step}"')
    return _existing(name, _STEP_NAME)


def letter_name(field: str, name: str) -> str:
    """The name itself if a dead letter can have it. Raises `InvalidArgument`, or `NotFound` as above."""
    if not name.startswith("deadLetters/") or name == "deadLetters/":
        raise InvalidArgument.of_field(field, 'must be the name of a dead letter, "deadLetters/{letter}"')
    return _existing(name, _LETTER_NAME)


def agent_name(field: str, name: str) -> str:
    """The name itself if an agent can have it. Raises `InvalidArgument`, or `NotFound` as above."""
    if not name.startswith("agents/") or name == "agents/":
        raise InvalidArgument.of_field(field, 'must be the name of an agent, "agents/{agent}"')
    return _existing(name, _AGENT_NAME)


def limit_name(field: str, name: str) -> str:
    """The name itself if a limit can have it. Raises `InvalidArgument`."""
    if not _LIMIT_NAME.fullmatch(name):
        allowed = 'must be "limits/{kind}:{name}" of kind agent, tenant, key or model, as "limits/agent:writer"'
        raise InvalidArgument.of_field(field, allowed)
    return name


def schedule_name(field: str, name: str) -> str:
    """The name itself if a schedule can have it. Raises `InvalidArgument`, or `NotFound` as above."""
    if not name.startswith("schedules/") or name == "schedules/":
        raise InvalidArgument.of_field(field, 'must be the name of a schedule, "schedules/{schedule}"')
    return _existing(name, _SCHEDULE_NAME)


def new_schedule_name(field: str, name: str) -> str:
    """The name itself if a schedule can be given it. Raises `InvalidArgument`."""
    if not _SCHEDULE_NAME.fullmatch(name):
        allowed = 'must be "schedules/" and a name of up to 64 of a-z, 0-9, "_" and "-", from a letter or digit on'
        raise InvalidArgument.of_field(field, allowed)
    return name


def template_name(field: str, name: str) -> str:
    """The name itself if a template can have it. Raises `InvalidArgument`, or `NotFound` as above."""
    if not name.startswith("templates/") or name == "templates/":
        raise InvalidArgument.of_field(field, 'must be the name of a template, "templates/{template}"')
    return _existing(name, _TEMPLATE_NAME)


def page_size(size: int) -> int:
    """The size itself if a page can have it; 0 stands for the default. Raises `InvalidArgument`."""
    if not 0 <= size <= MAX_PAGE_SIZE:
        raise InvalidArgument.of_field("page_size", f"is {size}, and must lie between 1 and {MAX_PAGE_SIZE}")
    return size


def request_id(chosen: str) -> str:
    """The id that the caller chose, a random one if they chose none. Raises `InvalidArgument` for what can be none."""
    if chosen and not limits.REQUEST_ID.fullmatch(chosen):
        allowed = f"must be 1 to {limits.MAX_REQUEST_ID_CHARS} visible ASCII characters without spaces"
        raise InvalidArgument.of_field("request_id", allowed)
    return chosen or uuid.uuid4().hex


def _existing(name: str, possible: re.Pattern[str]) -> str:
    if not possible.fullmatch(name):
        raise NotFound(f"{name[:_SHOWN_CHARS]} does not exist")
    return name
