"""The JSON Schemas of files, for editors: `# yaml-language-server: $schema=...`."""

from __future__ import annotations

import json
from typing import Any

from waybill.rpc.plan_schema import plan_schema
from waybill.rpc.template_forms import template_schema


def plan() -> str:
    """The schema of plan files."""
    return _text(plan_schema())


def template() -> str:
    """The schema of template files."""
    return _text(template_schema())


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
