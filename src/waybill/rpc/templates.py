"""Plan templates as JSON, by the rules of `waybill.rpc.resources`, and when a submission is made from one."""

from __future__ import annotations

import json
from typing import Any

from waybill.api.v1 import task_pb2
from waybill.rpc.payloads import Inline

COLLECTION = "templates/"


def is_made_from_template(spec: task_pb2.TaskSpec) -> bool:
    """Whether the plan is the planner's to make: with a goal or a plan, a template is only a name in lists."""
    return bool(spec.template) and not spec.goal and not spec.HasField("plan")


def template_to_json(template: task_pb2.Template, inline: Inline = json.loads) -> dict[str, Any]:
    """A template as JSON, schema and plan inline; the plan only where it was asked for."""
    shown: dict[str, Any] = {"name": template.name, "description": template.description}
    for name in ("parameters_schema", "plan"):
        text: str = getattr(template, name)
        if text:
            shown[name] = inline(text.encode())
    return shown
