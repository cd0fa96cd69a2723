"""The reasons that the code gives for what goes wrong, read from its text: classes of errors, and where one is made."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grpc

from waybill import errors

ROOT = Path(__file__).resolve().parents[2]
_SUITE = ("src/waybill/core", "src/waybill/ledger", "src/waybill/rpc", "services/planner/waybill_planner",
          "services/dispatcher/waybill_dispatcher", "services/gateway/waybill_gateway")  # fmt: skip
_AGENTS = ("src/waybill/models", "services/worker/waybill_worker")
_REASON = re.compile(r"[A-Z][A-Z0-9_]*")
_IN_LUA = re.compile(r'"reason":"([A-Z][A-Z0-9_]+)","message":("(?:[^"]*)")?')

Classes = Mapping[str, tuple[type[errors.WaybillError], grpc.StatusCode, str]]
"""Classes of errors by name: the class of the library that each is one of, its code and its usual reason."""


@dataclass(frozen=True)
class Raised:
    """One place that gives a reason. `of_agent` tells a failure of a step or task from the refusal of a call; a failure
    is `final` where no further attempt follows, and None stands for what depends.
    """

    reason: str
    of_agent: bool
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    final: bool | None = None
    message: str = ""


@cache
def raised() -> tuple[Raised, ...]:
    """All of them: what the suite refuses calls with, and what agents and what runs them fails steps with."""
    suite, agents = list(_trees(_SUITE)), list(_trees(_AGENTS))
    agents += [ast.parse(path.read_text()) for path in sorted((ROOT / "src/waybill").glob("*.py"))]
    constants = dict(_constants(suite + agents))
    classes = _classes(suite + agents)
    found = [
        Raised(reason, issubclass(base, errors.AgentError), kind, issubclass(base, errors.Permanent))
        for base, kind, reason in classes.values()
    ]
    found += _in(suite, classes, constants)
    # What else is raised there is between a client and its caller.
    found += [raised for raised in _in(agents, classes, constants) if raised.of_agent]
    for path in sorted((ROOT / "src/waybill/ledger/lua").glob("*.lua")):
        for reason, message in _IN_LUA.findall(path.read_text()):
            found.append(Raised(reason, True, message=message.strip('"')))
    return tuple(found)


def _trees(folders: tuple[str, ...]) -> Iterator[ast.Module]:
    for folder in folders:
        yield from (ast.parse(path.read_text()) for path in sorted((ROOT / folder).rglob("*.py")))


def _in(trees: list[ast.Module], classes: Classes, constants: Mapping[str, str]) -> Iterator[Raised]:
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from _of_call(node, classes, constants)


def _of_call(call: ast.Call, classes: Classes, constants: Mapping[str, str]) -> Iterator[Raised]:
    assert isinstance(call.func, ast.Name)
    given = {keyword.arg: keyword.value for keyword in call.keywords}.get("reason")
    message = _text(call.args[0]) if call.args else ""
    if call.func.id == "Failure" and len(call.args) == 2 and (reason := _named(call.args[0], constants)):
        yield Raised(reason, True, message=_text(call.args[1]))
    elif call.func.id in classes:
        base, kind, usual = classes[call.func.id]
        if given is None or (reason := _named(given, constants)):
            reason = usual if given is None else reason
            yield Raised(reason, issubclass(base, errors.AgentError), kind, issubclass(base, errors.Permanent), message)


def _named(value: ast.expr, constants: Mapping[str, str]) -> str:
    """The reason that stands there; nothing for what is made elsewhere, or is none."""
    if isinstance(value, ast.Constant):
        text = str(value.value)
    else:
        text = constants.get(value.id, "") if isinstance(value, ast.Name) else ""
    return text if _REASON.fullmatch(text) else ""


def _text(value: ast.expr) -> str:
    """A message as it is written, with a mark for what is put into it; nothing for one that is made elsewhere."""
    if isinstance(value, ast.Constant):
        return str(value.value)
    if isinstance(value, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in value.values)
    return ""


def _constants(trees: list[ast.Module]) -> Iterator[tuple[str, str]]:
    for node in (node for tree in trees for node in tree.body):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((target.id, node.value.value) for target in node.targets if isinstance(target, ast.Name))


def _classes(trees: list[ast.Module]) -> Classes:
    found = {
        name: (kind, kind.code, kind.reason)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.WaybillError)
    }
    for node in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        bases = [found[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in found]
        if bases and node.name not in found:
            base, kind, usual = bases[0]
            set_code = _assigned(node, "code").rpartition(".")[2]
            kind = grpc.StatusCode[set_code] if set_code else kind
            found[node.name] = (base, kind, _assigned(node, "reason").strip("'") or usual)
    return found


def _assigned(node: ast.ClassDef, name: str) -> str:
    """What a class sets a name to, as it is written."""
    for item in node.body:
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == name:
            return ast.unparse(item.value)
    return ""
