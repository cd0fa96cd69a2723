"""Owns the client's calls that change what exists: tasks, steps, effects, dead letters, agents, tenants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from waybill.api.v1 import gateway_pb2
from waybill.attempts import DeadLetter, Effect
from waybill.core.ids import random_id
from waybill.core.task import EffectState, TaskState
from waybill.errors import InvalidArgument
from waybill.filters import TaskFilter
from waybill.resources import Agent, Step, Task, Tenant
from waybill.rpc import conversion

_PAGE_SIZE = 200


class Steering(ABC):
    """Calls that take a `request_id`, and keep a random one over their tries where none is given.

    Each raises `AlreadyExists` if its request id was used for another call.
    """

    @abstractmethod
    async def call(self, method: str, request: Any) -> Any:
        """Make a unary call, repeated while nothing answers."""

    async def cancel(self, task: Task | str, request_id: str | None = None) -> Task:
        """Cancel a task; again changes nothing. Raises `NotFound`, or `FailedPrecondition` if it ended otherwise."""
        return await self._steer("CancelTask", gateway_pb2.CancelTaskRequest, task, request_id)

    async def pause(self, task: Task | str, request_id: str | None = None) -> Task:
        """Pause a running task: what runs goes on, nothing else starts. Raises `NotFound`, `FailedPrecondition`."""
        return await self._steer("PauseTask", gateway_pb2.PauseTaskRequest, task, request_id)

    async def resume(self, task: Task | str, request_id: str | None = None) -> Task:
        """Resume a paused task. Raises `NotFound`, or `FailedPrecondition` if it neither runs nor is paused."""
        return await self._steer("ResumeTask", gateway_pb2.ResumeTaskRequest, task, request_id)

    async def retry(self, task: Task | str, request_id: str | None = None) -> Task:
        """Run a failed or cancelled task again from what did not succeed.

        Raises `NotFound`, or `FailedPrecondition` if it succeeded, is stopping, or lives in the archive alone.
        """
        return await self._steer("RetryTask", gateway_pb2.RetryTaskRequest, task, request_id)

    async def _steer(self, method: str, message: Any, task: Task | str, request_id: str | None) -> Task:
        request = message(name=task_name(task), request_id=chosen_request_id(request_id))
        return Task.of((await self.call(method, request)).task)

    async def retry_many(
        self,
        states: Iterable[TaskState] = (),
        *,
        labels: Mapping[str, str] | None = None,
        agent: str = "",
        template: str = "",
        created_from: datetime | None = None,
        created_until: datetime | None = None,
        page_size: int = _PAGE_SIZE,
        request_id: str | None = None,
    ) -> AsyncIterator[str]:
        """Retry the failed and cancelled tasks that a filter admits, newest first; the names of those that run again.

        It goes page after page as the names are taken: what is not iterated to the end is not retried to the end.
        Raises `InvalidArgument` for an empty filter; `states` may hold FAILED and CANCELLED alone.
        """
        wanted = TaskFilter(states, labels or {}, agent, template, created_from, created_until)
        request = gateway_pb2.RetryTasksRequest(
            filter=wanted.message(), page_size=page_size, request_id=chosen_request_id(request_id)
        )
        while True:
            page = await self.call("RetryTasks", request)
            for name in page.names:
                yield name
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def answer(self, task: Task | str, step: Step | str, value: Any, request_id: str | None = None) -> Step:
        """Answer a step that waits for a person, with any value that has a JSON form.

        Raises `NotFound`, `InvalidArgument` if the answer does not fit the question, `FailedPrecondition` if the step
        does not wait.
        """
        request = gateway_pb2.AnswerStepRequest(
            name=step_name(task, step),
            answer=conversion.json_payload(_json("answer", value)),
            request_id=chosen_request_id(request_id),
        )
        return Step.of((await self.call("AnswerStep", request)).step)

    async def resolve_effect(
        self,
        task: Task | str,
        step: Step | str,
        key: str,
        state: EffectState,
        result: Any = None,
        request_id: str | None = None,
    ) -> Effect:
        """Decide an unknown effect after a look: DONE, with what it returned, or FAILED.

        Raises `NotFound`, and `FailedPrecondition` if the effect is not unknown.
        """
        request = gateway_pb2.ResolveEffectRequest(
            step=step_name(task, step),
            key=key,
            state=conversion.EFFECT_STATE_TO_PROTO[state],
            result=conversion.json_payload(_json("result", result)) if state is EffectState.DONE else None,
            request_id=chosen_request_id(request_id),
        )
        return Effect.of((await self.call("ResolveEffect", request)).effect)

    async def retry_dead_letter(self, letter: DeadLetter | str, request_id: str | None = None) -> Task:
        """Remove a dead letter and retry its task. Raises `NotFound`, or `FailedPrecondition` until that has ended."""
        request = gateway_pb2.RetryDeadLetterRequest(name=letter_name(letter), request_id=chosen_request_id(request_id))
        return Task.of((await self.call("RetryDeadLetter", request)).task)

    async def drop_dead_letter(self, letter: DeadLetter | str, request_id: str | None = None) -> None:
        """Remove a dead letter; its task stays as it ended. Raises `NotFound`."""
        request = gateway_pb2.DropDeadLetterRequest(name=letter_name(letter), request_id=chosen_request_id(request_id))
        await self.call("DropDeadLetter", request)

    async def pause_agent(self, agent: Agent | str, request_id: str | None = None) -> Agent:
        """Start nothing more of an agent, for any tenant. Raises `NotFound` if no worker ever announced it."""
        request = gateway_pb2.PauseAgentRequest(name=agent_name(agent), request_id=chosen_request_id(request_id))
        return Agent.of((await self.call("PauseAgent", request)).agent)

    async def resume_agent(self, agent: Agent | str, request_id: str | None = None) -> Agent:
        """Let an agent go on. Raises `NotFound` if no worker ever announced it."""
        request = gateway_pb2.ResumeAgentRequest(name=agent_name(agent), request_id=chosen_request_id(request_id))
        return Agent.of((await self.call("ResumeAgent", request)).agent)

    async def pause_tenant(self, request_id: str | None = None) -> Tenant:
        """Start nothing more of the tenant that this client speaks for."""
        request = gateway_pb2.PauseTenantRequest(request_id=chosen_request_id(request_id))
        return Tenant.of((await self.call("PauseTenant", request)).tenant)

    async def resume_tenant(self, request_id: str | None = None) -> Tenant:
        """Let the tenant that this client speaks for go on."""
        request = gateway_pb2.ResumeTenantRequest(request_id=chosen_request_id(request_id))
        return Tenant.of((await self.call("ResumeTenant", request)).tenant)


def task_name(task: Task | str) -> str:
    """Resource name of a task that was given as itself, by name or by id."""
    name = task.name if isinstance(task, Task) else task
    return name if name.startswith("tasks/") else f"tasks/{name}"


def step_name(task: Task | str, step: Step | str) -> str:
    """Resource name of a step that was given as itself, by its name in the plan, or by its resource name."""
    name = step.name if isinstance(step, Step) else step
    return name if name.startswith("tasks/") else f"{task_name(task)}/steps/{name}"


def letter_name(letter: DeadLetter | str) -> str:
    """Resource name of a dead letter that was given as itself, by name or by id."""
    name = letter.name if isinstance(letter, DeadLetter) else letter
    return name if name.startswith("deadLetters/") else f"deadLetters/{name}"


def agent_name(agent: Agent | str) -> str:
    """Resource name of an agent that was given as itself, by name or by id."""
    name = agent.name if isinstance(agent, Agent) else agent
    return name if name.startswith("agents/") else f"agents/{name}"


def chosen_request_id(request_id: str | None) -> str:
    """The id that a call is made under: a random one if none was chosen."""
    return request_id or random_id()


def _json(what: str, value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument.of_field(what, f"has no JSON form: {error}") from error
