"""Messages that are wrong in every way a message can be: made from the descriptors, with names that exist mixed in."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor as pb
from google.protobuf import message_factory
from hypothesis import strategies as st

from waybill.api.v1 import task_pb2

MAX_ITEMS = 3
DEEPEST = 5
_LONG = 2**63 - 1
_INTS = {
    pb.FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    pb.FieldDescriptor.CPPTYPE_INT64: (-_LONG - 1, _LONG),
    pb.FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    pb.FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_A_DAY_MS = 86_400_000

NAMES = [
    "a", "b", "task", "echo", "default", "A", "x" * 65, "x" * 70_000, "tasks/", "tasks/nothing", "tasks/0-1/steps/a",
    "tasks/../..", "agents/echo", "agents/nobody", "deadLetters/x.1", "deadLetters/x.-1", "deadLetters/x.99999999999",
    "\0", "a\nb", "${a}", "${a.b", "é", "💥", "\u202e", "{}", "{0}", "*", "%s", "%00", "' OR 1=1 --", ":", "a:b", " ",
]  # fmt: skip
LIMITS = ["limits/agent:nobody", "limits/tenant:other", "limits/key:crm", "limits/model:default"]
"""Limits that hold up no step of the tests' own."""
JSON_TEXTS = [
    "", "{}", "[]", "null", "0", "1e999", "NaN", "-Infinity", '"', '{"a":1,"a":2}', '"\\ud800"', "[" * 300 + "]" * 300,
    "[" * 100_000, "9" * 5_000, "1" + "0" * 400, '{"value":"${a}"}', '{"value":"${task.input}"}', '{"value":"${a"}',
    '{"value":"${task.goal | sum(@)}"}', '{"value":"${' + "a" * 1_001 + '}"}', '{"\\u0000":"\\u0000"}', '{"x":1}',
    '{"$ref":"#"}', '{"pattern":"(a+)+$"}', '{"type":["strin"]}', "{} {}", "\ufeff{}", "\x00", "true",
]  # fmt: skip
"""What stands where JSON is expected."""


def texts(known: list[str]) -> st.SearchStrategy[str]:
    """Names that exist, names that could, JSON, and anything that UTF-8 can say."""
    others = st.sampled_from([*NAMES, *JSON_TEXTS]) | st.text(max_size=40)
    return st.sampled_from(known) | others if known else others


def messages(kind: pb.Descriptor, known: list[str], depth: int = 0) -> st.SearchStrategy[Any]:
    """Messages of a kind. Each field is set or not; times are none, wrong, or far away, so that nothing is due soon."""
    made = message_factory.GetMessageClass(kind)
    fields = {field.name: _field(field, known, depth) for field in kind.fields if depth < DEEPEST}
    anything = st.fixed_dictionaries({}, optional=fields).map(lambda chosen: made(**chosen))
    right = _RIGHT.get(kind.name)
    if right is None or not fields:
        return anything
    # What is right but for one field gets past the checks that anything fails.
    spoilt = st.builds(_with, right, st.sampled_from(sorted(fields)), anything)
    return right | spoilt | anything


def _with(right: Any, name: str, other: Any) -> Any:
    right.ClearField(name)
    part = type(right)()
    part.CopyFrom(other)
    for descriptor, _ in other.ListFields():
        if descriptor.name != name:
            part.ClearField(descriptor.name)
    right.MergeFrom(part)
    return right


def _json(*values: str) -> st.SearchStrategy[task_pb2.Payload]:
    return st.sampled_from(values).map(lambda value: task_pb2.Payload(data=value.encode()))


_ASKED = st.builds(task_pb2.Question, prompt=st.just("Why?"), answer_schema=st.sampled_from(["", '{"type":"object"}']))
_STEPS = st.builds(
    task_pb2.PlanStep,
    name=st.sampled_from("abc"),
    agent=st.just("echo"),
    input=_json("{}", '{"value":"${task.input}"}', '{"value":["${a}"]}'),
    after=st.lists(st.sampled_from("abc"), max_size=1),
) | st.builds(task_pb2.PlanStep, name=st.sampled_from("abc"), question=_ASKED)
_PLANS = st.builds(task_pb2.Plan, steps=st.lists(_STEPS, min_size=1, max_size=3, unique_by=lambda step: step.name))
_RIGHT = {
    "PlanStep": _STEPS,
    "Plan": _PLANS,
    "TaskSpec": st.builds(task_pb2.TaskSpec, plan=_PLANS) | st.builds(task_pb2.TaskSpec, goal=st.just("Why?")),
    "Payload": _json("{}", "null", "1", '{"value":1}'),
}
"""Messages that pass by themselves."""


def _field(field: pb.FieldDescriptor, known: list[str], depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.dictionaries(_one(key, known, depth), _one(value, known, depth), max_size=MAX_ITEMS)
    one = st.deferred(lambda: _one(field, known, depth))
    return st.lists(one, max_size=MAX_ITEMS) if field.is_repeated else one


def _likely(field: pb.FieldDescriptor, known: list[str]) -> list[str]:
    """What a field of this name in this message can stand for, so that not every call ends at its first check."""
    holder = field.containing_type.name
    if field.name == "request_id":
        return ["", *(f"request-{number}" for number in range(100))]
    if field.name == "key":
        return ["mail"]
    if holder == "Limit" and field.name == "name":
        return LIMITS
    if field.name not in ("name", "parent", "step", "task") or "Request" not in holder:
        return []
    if "ModelCalls" in holder:
        return [name for name in known if name.startswith("tasks/")]
    if "DeadLetter" in holder:
        return [name for name in known if name.startswith("deadLetters/")]
    if "Agent" in holder or ("Pause" in holder and "Task" not in holder):
        return [name for name in known if name.startswith("agents/")]
    is_step = field.name == "step" or "Attempts" in holder or "Answer" in holder
    return [name for name in known if name.startswith("tasks/") and ("/steps/" in name) == is_step]


def _one(field: pb.FieldDescriptor, known: list[str], depth: int) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case pb.FieldDescriptor.CPPTYPE_MESSAGE:
            return messages(field.message_type, known, depth + 1)
        case pb.FieldDescriptor.CPPTYPE_ENUM:
            return st.sampled_from([*(value.number for value in field.enum_type.values), -1, 99, 2**31 - 1])
        case pb.FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case pb.FieldDescriptor.CPPTYPE_DOUBLE | pb.FieldDescriptor.CPPTYPE_FLOAT:
            return st.floats()
        case pb.FieldDescriptor.CPPTYPE_STRING if field.type == pb.FieldDescriptor.TYPE_STRING:
            likely = _likely(field, known)
            return st.sampled_from(likely) | st.sampled_from(likely) | texts(known) if likely else texts(known)
        case pb.FieldDescriptor.CPPTYPE_STRING:
            return st.sampled_from(JSON_TEXTS).map(str.encode) | st.binary(max_size=40)
        case kind:
            low, high = _INTS[kind]
            near = [value for value in (-1, 0, _A_DAY_MS) if low <= value <= high]
            if field.name.endswith("_ms"):
                return st.sampled_from([*near, low, high])
            return st.sampled_from([*near, 1, 2, 1_000, low, high]) | st.integers(low, high)
