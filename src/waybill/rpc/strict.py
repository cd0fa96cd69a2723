"""Reading JSON that has to fit a form exactly: unknown fields are errors, and an error names the field."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from waybill.errors import InvalidArgument
from waybill.rpc.payloads import MAX_JSON_DEPTH

_Read = TypeVar("_Read")

_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """Base of all forms: whatever is not a field is refused."""


def read_json(body: bytes, form: type[_Read]) -> _Read:
    """The value that JSON text describes. Raises `InvalidArgument` with the field that does not fit."""
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        raise _violation(str(error)) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidArgument.of_field("body", f"is not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidArgument.of_field("body", f"is nested over {MAX_JSON_DEPTH} deep; flatten it") from error


def _violation(message: str) -> InvalidArgument:
    """The error for what msgspec says, such as "Expected `int`, got `str` - at `$.plan.steps[0].run_timeout_ms`"."""
    what, found, where = message.rpartition(" - at `")
    if not found:
        what, where = message, ""
    path = where.removesuffix("`").removeprefix("$").lstrip(".")
    for pattern, description in ((_UNKNOWN_FIELD, "is not a known field"), (_MISSING_FIELD, "is required")):
        named = pattern.fullmatch(what)
        if named is not None:
            return InvalidArgument.of_field(f"{path}.{named[1]}".lstrip("."), description)
    return InvalidArgument.of_field(path or "body", what)
