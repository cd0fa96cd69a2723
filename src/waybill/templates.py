"""Owns the client's calls about plan templates, and templates as plain values."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.rpc.templates import COLLECTION


@dataclass(frozen=True, slots=True)
class Template:
    """A plan template. `parameters_schema` is the JSON Schema of its parameters as one object; `plan` is a plan's JSON
    form with references such as `${parameters.question}`, None in lists.
    """

    name: str
    description: str
    parameters_schema: Mapping[str, Any]
    plan: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """The name without its collection: what tasks are submitted by."""
        return self.name.removeprefix(COLLECTION)

    @classmethod
    def of(cls, message: task_pb2.Template) -> Template:
        """The template of a message."""
        return cls(
            name=message.name,
            description=message.description,
            parameters_schema=json.loads(message.parameters_schema or "{}"),
            plan=json.loads(message.plan) if message.plan else None,
        )


class Templates(ABC):
    """Calls that read the planner's templates."""

    @abstractmethod
    async def call(self, method: str, request: Any) -> Any:
        """Make a unary call, repeated while nothing answers."""

    async def templates(self) -> Sequence[Template]:
        """The planner's templates by name, without their plans."""
        response = await self.call("ListTemplates", gateway_pb2.ListTemplatesRequest())
        return [Template.of(template) for template in response.templates]

    async def template(self, name: Template | str) -> Template:
        """A template with its plan, by its name or id. Raises `NotFound`."""
        asked = name.id if isinstance(name, Template) else name.removeprefix(COLLECTION)
        response = await self.call("GetTemplate", gateway_pb2.GetTemplateRequest(name=COLLECTION + asked))
        return Template.of(response.template)
