"""JSON Schemas of what goes in and out over HTTP, made from the forms and the contracts, so that they cannot drift."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from google.protobuf import descriptor as pb

from waybill.api.v1 import task_pb2

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
PROBLEM: Schema = {
    "title": "Problem",
    "description": "Problem details (RFC 9457) of a refused call.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "reason", "violations"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "Where this kind of problem is described; about:blank where its status says it all.",
        },
        "title": {"type": "string", "description": "The kind of problem, the same each time."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What went wrong this time, and what to do."},
        "code": {"type": "string", "description": "The kind of error as gRPC names it.", "pattern": "^[A-Z_]+$"},
        "reason": {"type": "string", "description": "Stable reason.", "pattern": "^[A-Z][A-Z0-9_]*$"},
        "violations": {
            "type": "array",
            "description": "The fields that are wrong; empty if no field is.",
            "items": {
                "type": "object",
                "required": ["field", "description"],
                "properties": {
                    "field": {"type": "string", "description": "Path of the field, such as `plan.steps[2].agent`."},
                    "description": {"type": "string", "description": "What is wrong with it, and what to do."},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}

_ANY: Schema = {}
_INLINE = frozenset({"input_schema", "output_schema", "answer_schema"})
"""Texts of JSON that stand inline."""
_NUMBERS = {
    pb.FieldDescriptor.CPPTYPE_INT32: "integer",
    pb.FieldDescriptor.CPPTYPE_INT64: "integer",
    pb.FieldDescriptor.CPPTYPE_UINT32: "integer",
    pb.FieldDescriptor.CPPTYPE_UINT64: "integer",
    pb.FieldDescriptor.CPPTYPE_DOUBLE: "number",
    pb.FieldDescriptor.CPPTYPE_FLOAT: "number",
}


def reference(name: str) -> Schema:
    """A reference to the schema of this name."""
    return {"$ref": REFERENCE.format(name=name)}


def form_schemas(forms: Iterable[type]) -> dict[str, Schema]:
    """The schemas of forms and of all that is in them, by class name."""
    _, components = msgspec.json.schema_components(list(forms), ref_template=REFERENCE)
    return components


def resource_schemas() -> dict[str, Schema]:
    """The schemas of the resources as they are shown, by message name."""
    return {message.name: _resource(message) for message in task_pb2.DESCRIPTOR.message_types_by_name.values()}


def _resource(message: pb.Descriptor) -> Schema:
    return {
        "type": "object",
        "properties": {field.name: _field(field) for field in message.fields},
        "additionalProperties": False,
    }


def _field(field: pb.FieldDescriptor) -> Schema:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _one(kind.fields_by_name["value"])}
    return {"type": "array", "items": _one(field)} if field.is_repeated else _one(field)


def _one(field: pb.FieldDescriptor) -> Schema:
    if field.message_type is not None:
        match field.message_type.name:
            case "Timestamp":
                return {"type": "string", "format": "date-time"}
            case "Payload":
                return _ANY
            case name:
                return reference(name)
    if field.enum_type is not None:
        return {"type": "string", "enum": _names(field.enum_type)}
    if field.name in _INLINE:
        return _ANY
    if field.cpp_type == pb.FieldDescriptor.CPPTYPE_BOOL:
        return {"type": "boolean"}
    return {"type": _NUMBERS.get(field.cpp_type, "string")}


def _names(kind: pb.EnumDescriptor) -> list[str]:
    """The values of an enum as they are shown: `TASK_STATE_RUNNING` is `running`."""
    unspecified = next(value.name for value in kind.values if value.number == 0)
    prefix = unspecified.removesuffix("UNSPECIFIED")
    return [*(value.name.removeprefix(prefix).lower() for value in kind.values if value.number), "unknown"]
