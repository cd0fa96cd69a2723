"""What the contracts' comments say, which the generated code does not keep: made by `make docs`, read once wanted."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec
from google.protobuf import descriptor as pb


class Definition(msgspec.Struct):
    """What is said of a message or an enum, and of its fields or values."""

    note: str
    members: dict[str, str]


class Notes(msgspec.Struct):
    """All comments, by name."""

    rpcs: dict[str, str]
    messages: dict[str, Definition]
    enums: dict[str, Definition]


@cache
def notes() -> Notes:
    """The comments of the public API's contracts."""
    text = resources.files("waybill_gateway").joinpath("contract_notes.json").read_bytes()
    return msgspec.json.decode(text, type=Notes)


def field_note(message: pb.Descriptor | None, name: str) -> str:
    """What is said of a field; nothing for one of no message of this API."""
    known = notes().messages.get(message.name) if message is not None else None
    return known.members.get(name, "") if known else ""


def shown_name(kind: pb.EnumDescriptor, value: str) -> str:
    """A value of an enum as JSON shows it: `TASK_STATE_RUNNING` is `running`."""
    unspecified = next(item.name for item in kind.values if item.number == 0)
    return value.removeprefix(unspecified.removesuffix("UNSPECIFIED")).lower()
