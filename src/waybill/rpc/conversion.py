"""Conversion between messages, the domain and JSON, in one place to import from."""

from waybill.rpc.enums import (
    EVENT_TYPE_FROM_PROTO,
    EVENT_TYPE_TO_PROTO,
    PRIORITY_FROM_PROTO,
    PRIORITY_TO_PROTO,
    STEP_STATE_FROM_PROTO,
    STEP_STATE_TO_PROTO,
    TASK_STATE_FROM_PROTO,
    TASK_STATE_TO_PROTO,
)
from waybill.rpc.events import (
    epoch_ms,
    event_from_proto,
    event_to_json,
    event_to_proto,
    failure_from_proto,
    failure_to_json,
    failure_to_proto,
    timestamp,
    usage_from_proto,
    usage_to_json,
    usage_to_proto,
)
from waybill.rpc.payloads import json_defect, json_payload, payload_defect, payload_to_json
from waybill.rpc.plans import plan_from_proto, plan_to_proto, plan_violations
from waybill.rpc.resources import agent_to_json, metrics_to_json, step_to_json, task_to_json
from waybill.rpc.specs import batch_from_json, plan_from_json, spec_from_json, submission_from_json

__all__ = [
    "EVENT_TYPE_FROM_PROTO",
    "EVENT_TYPE_TO_PROTO",
    "PRIORITY_FROM_PROTO",
    "PRIORITY_TO_PROTO",
    "STEP_STATE_FROM_PROTO",
    "STEP_STATE_TO_PROTO",
    "TASK_STATE_FROM_PROTO",
    "TASK_STATE_TO_PROTO",
    "agent_to_json",
    "batch_from_json",
    "epoch_ms",
    "event_from_proto",
    "event_to_json",
    "event_to_proto",
    "failure_from_proto",
    "failure_to_json",
    "failure_to_proto",
    "json_defect",
    "json_payload",
    "metrics_to_json",
    "payload_defect",
    "payload_to_json",
    "plan_from_json",
    "plan_from_proto",
    "plan_to_proto",
    "plan_violations",
    "spec_from_json",
    "step_to_json",
    "submission_from_json",
    "task_to_json",
    "timestamp",
    "usage_from_proto",
    "usage_to_json",
    "usage_to_proto",
]
