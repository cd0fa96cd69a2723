"""The comments of the contracts as a file of the gateway, which describes its HTTP API with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import contracts


def notes() -> str:
    """The file: comments of RPCs by name, and of messages and enums with those of their members.

    Values of enums stand in the comments as JSON shows them.
    """
    definitions = (*contracts.definitions("task.proto"), *contracts.definitions("gateway.proto"))
    values = dict(_values(definitions))
    named = re.compile(rf"\b({'|'.join(values)})\b")
    found: dict[str, dict[str, object]] = {"rpcs": {}, "messages": {}, "enums": {}}
    for item in definitions:
        said = {name: named.sub(lambda value: values[value[1]], text) for name, text in _comments(item)}
        note = said.pop("")
        if item.kind == "service":
            found["rpcs"].update(said)
        else:
            found[f"{item.kind}s"][item.name] = {"note": note, "members": said}
    return json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _comments(item: contracts.Definition) -> Iterator[tuple[str, str]]:
    yield "", item.comment
    yield from ((member.name, member.comment) for member in item.members)


def _values(definitions: tuple[contracts.Definition, ...]) -> Iterator[tuple[str, str]]:
    for item in definitions:
        if item.kind == "enum":
            prefix = item.members[0].name.removesuffix("UNSPECIFIED")
            yield from ((value.name, f"`{value.name.removeprefix(prefix).lower()}`") for value in item.members)
