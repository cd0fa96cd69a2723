"""The comments of the contracts as a file of the gateway, which describes its HTTP API with them."""

from __future__ import annotations

import json

import contracts


def notes() -> str:
    """The file: comments of RPCs by name, and of messages and enums with those of their members."""
    found: dict[str, dict[str, object]] = {"rpcs": {}, "messages": {}, "enums": {}}
    for item in (*contracts.definitions("task.proto"), *contracts.definitions("gateway.proto")):
        members = {member.name: member.comment for member in item.members}
        if item.kind == "service":
            found["rpcs"].update(members)
        else:
            found[f"{item.kind}s"][item.name] = {"note": item.comment, "members": members}
    return json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
