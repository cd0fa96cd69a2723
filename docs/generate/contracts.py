"""The protobuf contracts with their comments, as protoc reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from tables import one_line

PROTOS = Path(__file__).resolve().parents[2] / "protos"
_ENUMS, _MESSAGES, _SERVICES, _MEMBERS = 5, 4, 6, 2
_TYPES = {
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING: "string",
    descriptor_pb2.FieldDescriptorProto.TYPE_BYTES: "bytes",
    descriptor_pb2.FieldDescriptorProto.TYPE_BOOL: "bool",
    descriptor_pb2.FieldDescriptorProto.TYPE_INT32: "int32",
    descriptor_pb2.FieldDescriptorProto.TYPE_INT64: "int64",
    descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE: "double",
}


@dataclass(frozen=True)
class Member:
    """A field, an enum's value or an RPC. `types` is what it holds, or what an RPC takes and returns."""

    name: str
    types: tuple[str, ...]
    comment: str


@dataclass(frozen=True)
class Definition:
    """A message, an enum or a service with its members."""

    kind: str
    name: str
    comment: str
    members: tuple[Member, ...]


@cache
def definitions(file: str) -> tuple[Definition, ...]:
    """What one file of `protos/waybill/api/v1` defines, in its order by kind: services, enums, messages."""
    parsed = next(item for item in _parsed().file if item.name == f"waybill/api/v1/{file}")
    comments = {tuple(place.path): one_line(place.leading_comments) for place in parsed.source_code_info.location}
    found: list[Definition] = []
    for kind, number, group in (
        ("service", _SERVICES, parsed.service),
        ("enum", _ENUMS, parsed.enum_type),
        ("message", _MESSAGES, parsed.message_type),
    ):
        for at, item in enumerate(group):
            members = tuple(_members(item, (number, at), comments))
            found.append(Definition(kind, item.name, comments.get((number, at), ""), members))
    return tuple(found)


@cache
def _parsed() -> descriptor_pb2.FileDescriptorSet:
    files = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    with tempfile.NamedTemporaryFile() as out:
        options = [f"-I{PROTOS}", f"-I{Path(protoc.__file__).parent / '_proto'}", "--include_source_info"]
        if protoc.main(["protoc", *options, f"--descriptor_set_out={out.name}", *files]) != 0:
            raise SystemExit("protoc could not read the contracts")
        return descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes())


def _members(item: Any, path: tuple[int, int], comments: dict[tuple[int, ...], str]) -> Iterator[Member]:
    if isinstance(item, descriptor_pb2.ServiceDescriptorProto):
        for at, rpc in enumerate(item.method):
            answer = ("stream of " if rpc.server_streaming else "") + _last(rpc.output_type)
            yield Member(rpc.name, (_last(rpc.input_type), answer), comments.get((*path, _MEMBERS, at), ""))
    elif isinstance(item, descriptor_pb2.EnumDescriptorProto):
        for at, value in enumerate(item.value):
            yield Member(value.name, (), comments.get((*path, _MEMBERS, at), ""))
    else:
        maps = {nested.name: nested.field for nested in item.nested_type if nested.options.map_entry}
        for at, field in enumerate(item.field):
            yield Member(field.name, (_type(field, maps),), comments.get((*path, _MEMBERS, at), ""))


def _type(field: descriptor_pb2.FieldDescriptorProto, maps: dict[str, Any]) -> str:
    name = _TYPES.get(field.type) or _last(field.type_name)
    if name in maps:
        return f"map of {_type(maps[name][0], {})} to {_type(maps[name][1], {})}"
    return f"list of {name}" if field.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED else name


def _last(name: str) -> str:
    return name.rpartition(".")[2]
