"""JSON Schemas of what goes in and out over HTTP, made from the forms and the contracts, so that they cannot drift."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from google.protobuf import descriptor as pb

from waybill.api.v1 import task_pb2
from waybill_gateway.contract_notes import field_note, notes, shown_name

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
_INLINE = frozenset({"input_schema", "output_schema", "answer_schema", "parameters_schema", "plan"})
"""Texts of JSON that stand inline."""
_NUMBERS = {
    pb.FieldDescriptor.CPPTYPE_INT32: "integer",
    pb.FieldDescriptor.CPPTYPE_INT64: "integer",
    pb.FieldDescriptor.CPPTYPE_UINT32: "integer",
    pb.FieldDescriptor.CPPTYPE_UINT64: "integer",
    pb.FieldDescriptor.CPPTYPE_DOUBLE: "number",
    pb.FieldDescriptor.CPPTYPE_FLOAT: "number",
}
_ONLY_IN_FORMS = {
    ("DocumentForm", "text"): "The document as text.",
    ("NewScheduleForm", "id"): "The name without `schedules/`: up to 64 of a-z, 0-9, `_` and `-`.",
    ("DocumentForm", "data_base64"): "The document as bytes, in base64; instead of `text`.",
}
"""What stands for another field of the contracts."""


def reference(name: str) -> Schema:
    """A reference to the schema of this name."""
    return {"$ref": REFERENCE.format(name=name)}


def form_schemas(forms: Iterable[tuple[type, pb.Descriptor]]) -> dict[str, Schema]:
    """The schemas of forms and of all that is in them, by class name.

    Each form comes with the message that it is made into, whose comments describe the fields that say nothing
    themselves. Defaults are left out: they stand for what was not given.
    """
    pairs = sorted(forms, key=lambda pair: pair[0].__name__)
    _, components = msgspec.json.schema_components([form for form, _ in pairs], ref_template=REFERENCE)
    described = _Described(components)
    for form, message in pairs:
        described.describe(form.__name__, message)
    return {name: {**schema, "title": name} for name, schema in components.items()}


class _Described:
    """Schemas of forms that get what the contracts say of their fields."""

    def __init__(self, components: dict[str, Schema]) -> None:
        self._components = components
        self._done: set[str] = set()

    def describe(self, name: str, message: pb.Descriptor) -> None:
        """Describe a form by the message that it is made into, and the forms in it by the messages in that."""
        if name in self._done:
            return
        self._done.add(name)
        for key, field in self._components[name].get("properties", {}).items():
            field.pop("default", None)
            found = _field_named(message, key)
            note = _ONLY_IN_FORMS.get((name, key)) or (field_note(found.containing_type, key) if found else "")
            if note:
                field.setdefault("description", note)
            for inner in _references(field):
                if found is not None and found.message_type is not None:
                    self.describe(inner, found.message_type)
                elif found is not None and found.enum_type is not None:
                    self._components[inner]["description"] = _values(found.enum_type)


def _field_named(message: pb.Descriptor, name: str) -> pb.FieldDescriptor | None:
    """The field of a message, or of a message in it: the JSON of HTTP names what is set without what it is set in."""
    if name in message.fields_by_name:
        return message.fields_by_name[name]
    inner = (field.message_type for field in message.fields if field.message_type is not None)
    return next((kind.fields_by_name[name] for kind in inner if name in kind.fields_by_name), None)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if str(schema.get("$ref", "")).startswith(REFERENCE.format(name="")):
            yield schema["$ref"].rpartition("/")[2]
        schema = list(schema.values())
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def used_schemas(paths: dict[str, Any], schemas: dict[str, Schema]) -> dict[str, Schema]:
    """The schemas that paths refer to, and those that are in them; problems, which all may answer, among them."""
    used = {"Problem"}
    waiting = [*used, *_references(paths)]
    while waiting:
        name = waiting.pop()
        used.add(name)
        waiting += [inner for inner in _references(schemas[name]) if inner not in used]
    return {name: schemas[name] for name in sorted(used)}


def resource_schemas() -> dict[str, Schema]:
    """The schemas of the resources as they are shown, by message name."""
    return {message.name: _resource(message) for message in task_pb2.DESCRIPTOR.message_types_by_name.values()}


def _resource(message: pb.Descriptor) -> Schema:
    return {
        "title": message.name,
        "description": notes().messages[message.name].note,
        "type": "object",
        "properties": {field.name: _field(field) for field in message.fields},
        "additionalProperties": False,
    }


def _field(field: pb.FieldDescriptor) -> Schema:
    note = field_note(field.containing_type, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        schema: Schema = {"type": "object", "additionalProperties": _one(kind.fields_by_name["value"])}
    else:
        schema = {"type": "array", "items": _one(field)} if field.is_repeated else _one(field)
    return {"description": note, **schema}


def _one(field: pb.FieldDescriptor) -> Schema:
    if field.message_type is not None:
        match field.message_type.name:
            case "Timestamp":
                return {"type": "string", "format": "date-time"}
            case "Payload":
                return _ANY
            case "TaskSpec":
                return reference("SpecForm")  # it is shown as it is written
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
    """The values of an enum as they are shown; `unknown` stands for those of a newer release."""
    return [*(shown_name(kind, value.name) for value in kind.values if value.number), "unknown"]


def _values(kind: pb.EnumDescriptor) -> str:
    """What is said of an enum and of each of its values."""
    known = notes().enums[kind.name]
    told = [f"- `{shown_name(kind, value.name)}`: {known.members[value.name]}" for value in kind.values if value.number]
    return "\n".join([known.note, "", *told])
