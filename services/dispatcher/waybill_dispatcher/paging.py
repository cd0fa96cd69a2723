"""Page sizes and page tokens of requests."""

from __future__ import annotations

import base64
import re

from waybill.errors import InvalidArgument
from waybill.ledger.reads import ListPosition

MAX_PAGE_SIZE = 1_000
CallPosition = tuple[int, int, int, int]
"""When a call began, and its step, attempt and number: what lists of calls are ordered by."""
_TASK_TOKEN = re.compile(r"t(\d{1,15}):([A-Za-z0-9-]{1,64})")
_LETTER_TOKEN = re.compile(r"d(\d{1,15}):([A-Za-z0-9.-]{1,80})")
_CALL_TOKEN = re.compile(r"c(\d{1,15}):(\d{1,9}):(\d{1,9}):(\d{1,9})")
_SCHEDULE_TOKEN = re.compile(r"n([a-z0-9][a-z0-9_-]{0,63})")
_STEP_TOKEN = re.compile(r"s(\d{1,9})")


def page_size_of(requested: int, default: int) -> int:
    """The size to use. Raises InvalidArgument outside 0 to 1,000."""
    if not 0 <= requested <= MAX_PAGE_SIZE:
        raise InvalidArgument.of_field("page_size", f"is {requested}, and must lie between 1 and {MAX_PAGE_SIZE}")
    return requested or default


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(token: str, pattern: re.Pattern[str]) -> re.Match[str]:
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        text = ""
    found = pattern.fullmatch(text)
    if found is None:
        raise InvalidArgument.of_field("page_token", "is not a token of this list; take next_page_token of a reply")
    return found


def task_token(position: ListPosition | None) -> str:
    """Token of the page that starts after this position; empty for none."""
    return _encoded(f"t{position.created_ms}:{position.task}") if position else ""


def task_position(token: str) -> ListPosition | None:
    """Position in a list of tasks. Raises InvalidArgument for a token that is none."""
    return _position(token, _TASK_TOKEN)


def letter_token(position: ListPosition | None) -> str:
    """Token of the page of dead letters that starts after this position; empty for none."""
    return _encoded(f"d{position.created_ms}:{position.task}") if position else ""


def letter_position(token: str) -> ListPosition | None:
    """Position in a list of dead letters. Raises InvalidArgument for a token that is none."""
    return _position(token, _LETTER_TOKEN)


def _position(token: str, pattern: re.Pattern[str]) -> ListPosition | None:
    if not token:
        return None
    found = _decoded(token, pattern)
    return ListPosition(int(found.group(1)), found.group(2))


def call_token(position: CallPosition | None) -> str:
    """Token of the page of model calls that starts after this position; empty for none."""
    return _encoded("c" + ":".join(map(str, position))) if position else ""


def call_position(token: str) -> CallPosition | None:
    """Position in a list of model calls. Raises InvalidArgument for a token that is none."""
    if not token:
        return None
    started_ms, step, attempt, call = _decoded(token, _CALL_TOKEN).groups()
    return int(started_ms), int(step), int(attempt), int(call)


def step_token(last: int, count: int) -> str:
    """Token of the page that starts after step number `last` of `count`; empty at the end."""
    return _encoded(f"s{last}") if last < count else ""


def step_position(token: str) -> int:
    """Number of the last step of the page before. Raises InvalidArgument for a token that is none."""
    return int(_decoded(token, _STEP_TOKEN).group(1)) if token else 0


def schedule_token(last: str) -> str:
    """Token of the page that starts after the schedule of this id; empty for none."""
    return _encoded(f"n{last}") if last else ""


def schedule_position(token: str) -> str:
    """Id of the last schedule of the page before. Raises InvalidArgument for a token that is none."""
    return _decoded(token, _SCHEDULE_TOKEN).group(1) if token else ""
