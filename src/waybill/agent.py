"""The agent SDK: `@agent` makes a function a named capability, `Context` is what an attempt may use.

An agent is an async or plain function whose first parameter may be a `Context`; its other parameters are the
step's input, and their type hints (pydantic) become the JSON Schema of that input. Execution is at least once:
an attempt can be repeated after a crash, so an agent makes its effects idempotent by `Context.idempotency_key`, or
guards them with `Context.once`.
"""

from __future__ import annotations

import importlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_type_hints, overload

from waybill.core.limits import AGENT_NAME, MAX_BATCH_STEPS, MAX_BATCH_TARGET_MS

# What only agents need is imported when one is defined or run: `import waybill` stands at the start of every command.
if TYPE_CHECKING:
    from pydantic import BaseModel, TypeAdapter

    from waybill.chat import Message, Tool
    from waybill.core.budget import TaskPolicy
    from waybill.core.plan import RetryPolicy
    from waybill.core.task import Document

ENTRY_POINT_GROUP = "waybill.agents"
Isolation = Literal["process", "thread"]


class Context(ABC):
    """What one attempt of a step knows and may do. Safe to use from the agent's own thread or process."""

    task: str
    """Id of the task."""
    step: str
    """Name of the step."""
    attempt: int
    """Number of this execution, from 1."""
    tenant: str
    """Tenant that the task belongs to."""
    deadline: float
    """Epoch seconds at which this attempt is stopped."""

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of this step, also of a task that is retried: for what must not happen twice."""
        return f"{self.task}/{self.step}"

    @property
    @abstractmethod
    def cancelled(self) -> bool:
        """Whether the attempt was asked to stop. Async agents are interrupted besides."""

    @abstractmethod
    def progress(self, message: str, fraction: float | None = None) -> None:
        """Tell watchers how far the attempt is; `fraction` lies between 0.0 and 1.0."""

    @abstractmethod
    def text(self, text: str) -> None:
        """Stream text to watchers. Text of a failed attempt is void once the next one starts."""

    @abstractmethod
    def spend(self, *, input_tokens: int = 0, output_tokens: int = 0, cost_microusd: int = 0) -> None:
        """Add to what this attempt used. Counted whether the attempt succeeds or fails."""

    @abstractmethod
    async def documents(self) -> list[Document]:
        """The documents sent with the task."""

    @abstractmethod
    def once(self, key: str, function: Callable[[], Any], *, reconcile: Callable[[str], Any] | None = None) -> Any:
        """Do something that must not happen twice, unless an earlier attempt has done it; what it returned, as JSON.

        To be awaited where an event loop runs, as in async agents; a plain agent gets the value itself. `function`,
        async or plain, does it. `key` names the effect within the step: 1 to 200 visible characters. What `function`
        returns is stored, at most 1 MiB of JSON, and every attempt gets it in the form that JSON gives it: tuples as
        lists, models as dicts.

        If `function` raises, the effect did not happen: a later attempt may try it again. EffectUnknown, TimeoutError
        and a cancellation mean that nobody knows, as does a crash before its record. Then `reconcile`, or else the
        agent's own hook, is asked with the key (async or plain): it returns what the effect returned, or
        `waybill.NOT_DONE` to let it be tried again, or raises EffectUnknown. Without a hook EffectUnknown is raised,
        and the step fails for a person to decide.
        Raises Permanent for a wrong key, and for a result that cannot be stored: that effect counts as unknown.
        """

    @property
    @abstractmethod
    def has_model(self) -> bool:
        """Whether the operator has set up a model, so that `chat` can be used."""

    @abstractmethod
    def chat(
        self,
        messages: str | Sequence[Message],
        *,
        system: str = "",
        model: str = "",
        output: Any = None,
        tools: Sequence[Tool] = (),
        max_output_tokens: int | None = None,
        temperature: float | None = None,
        stream: bool = False,
    ) -> Any:
        """Ask a model and return its `waybill.Reply`. To be awaited where an event loop runs, as in async agents; a
        plain agent gets the reply itself. Tokens and money are counted without `spend`.

        `model` is one of the operator's names, empty for the one set up for this agent. With `output`, a type that
        pydantic knows or a JSON Schema, `Reply.value` is the answer as such a value: what does not fit goes back to the
        model, twice at most. With `stream` the text goes to watchers as it comes; if a call breaks and is made again,
        its text begins anew. Text that others wrote belongs into user messages, never into `system`.

        Raises Permanent MODEL_MISSING where no model is set up, MODEL_REFUSED for what no repetition mends,
        PRICE_UNKNOWN for a model without a price under a budget, and CHAT_INVALID for wrong arguments; AgentError
        MODEL_UNAVAILABLE while all endpoints fail or are limited, MODEL_OUTPUT_CUT for an answer longer than allowed
        and OUTPUT_INVALID for one that never fits; BudgetExhausted, which an agent lets pass.
        """

    @abstractmethod
    async def policy(self) -> TaskPolicy:
        """What the task's author lets it do: agents, tools, hosts and recipients."""

    @abstractmethod
    def add_step(
        self,
        name: str,
        agent: str,
        input: Any,
        *,
        after: Sequence[str] = (),
        when: Sequence[str] = (),
        limits: Sequence[str] = (),
        allow_skipped: bool = False,
        retry: RetryPolicy | None = None,
        run_timeout_ms: int = 300_000,
        result: bool = False,
    ) -> None:
        """Add a step to the plan of the task, once this attempt has succeeded; an attempt that fails adds none.

        The arguments are those of a plan's step; `input` may refer to steps of the plan, to this one, and to others
        that are added. With `result`, for one step at most, what depends on this step depends on the new one instead,
        and gets its output in place of this one's.
        Raises Permanent (PATCH_INVALID) for what can never be added; what only the plan tells, such as a name that is
        taken or an agent that the task's policy does not allow, fails the step for good when it succeeds.
        """


@dataclass(frozen=True)
class AgentDefinition:
    """A function made an agent, with the models that check its input and describe its output."""

    name: str
    description: str
    function: Callable[..., Any]
    takes_context: bool
    is_async: bool
    isolation: Isolation
    max_batch: int
    min_batch: int
    batch_target_ms: int
    input_model: type[BaseModel]
    output_type: TypeAdapter[Any]
    reconcile: Callable[[Context, str], Any] | None = None
    """Asked what became of an unknown effect of `Context.once`, where the call brings no hook of its own."""
    uses_model: bool = False
    """Whether its steps ask a model, so that they wait, without a worker's slot, while its endpoint is busy."""

    @property
    def input_schema(self) -> str:
        """JSON Schema of the input, as JSON text."""
        return json.dumps(self.input_model.model_json_schema(), separators=(",", ":"))

    @property
    def output_schema(self) -> str:
        """JSON Schema of the output, as JSON text; empty if the return type is not declared."""
        schema = self.output_type.json_schema(mode="serialization")
        return json.dumps(schema, separators=(",", ":")) if schema else ""

    @cached_property
    def _takes_nothing(self) -> bool:
        return not self.input_model.model_fields

    def parse_input(self, data: bytes) -> dict[str, Any]:
        """Keyword arguments from the step's resolved input, JSON text.

        Raises `Permanent` naming every field that does not fit: no repetition could mend it.
        """
        if data == b"{}" and self._takes_nothing:
            return {}
        try:
            model = self.input_model.__pydantic_validator__.validate_json(data)
        except ValueError as error:
            from pydantic import ValidationError

            from waybill.errors import Permanent

            if not isinstance(error, ValidationError):
                raise
            shown = "; ".join(
                f"{'.'.join(str(part) for part in item['loc']) or 'input'}: {item['msg']}" for item in error.errors()
            )
            raise Permanent(f"the input of agent {self.name} does not fit: {shown}", reason="INPUT_INVALID") from error
        return dict(model.__dict__)

    def dump_output(self, value: Any) -> bytes:
        """JSON text of what the agent returned. Raises `Permanent` if it has no JSON form."""
        try:
            return self.output_type.serializer.to_json(value, warnings="error")
        except Exception as error:  # pydantic raises several types here, none of them worth a retry
            from waybill.errors import Permanent

            raise Permanent(
                f"the output of agent {self.name} is not {self.output_schema or 'JSON'}: {type(error).__name__}",
                reason="OUTPUT_INVALID",
            ) from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it were not an agent."""
        return self.function(*args, **kwargs)


@overload
def agent(function: Callable[..., Any], /) -> AgentDefinition:
    """`@agent` as it is."""
    ...


@overload
def agent(
    *,
    name: str = "",
    isolation: Isolation = "process",
    max_batch: int = 64,
    min_batch: int = 1,
    batch_target_ms: int = 0,
    reconcile: Callable[[Context, str], Any] | None = None,
    uses_model: bool = False,
) -> Callable[[Callable[..., Any]], AgentDefinition]:
    """`@agent(...)` with settings."""
    ...


def agent(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    isolation: Isolation = "process",
    max_batch: int = 64,
    min_batch: int = 1,
    batch_target_ms: int = 0,
    reconcile: Callable[[Context, str], Any] | None = None,
    uses_model: bool = False,
) -> AgentDefinition | Callable[[Callable[..., Any]], AgentDefinition]:
    """Make a function an agent, under its own name unless `name` is given.

    Plain functions run in a process of their own (`isolation="thread"` opts out); async ones on the worker's loop.
    A worker takes as many steps of it at once as should run within `batch_target_ms` (0: as the operator says, 50
    unless set), at least `min_batch` and at most `max_batch`; both alike fix the number. `reconcile(ctx, key)`, async
    or plain, is asked what became of an effect of `Context.once` that may have happened: it returns its result or
    `waybill.NOT_DONE`, or raises EffectUnknown. `uses_model` says that its steps ask a model (`Context.chat`).
    Raises ValueError for a bad name and TypeError for parameters that cannot be passed by keyword.
    """
    batches = (min_batch, max_batch, batch_target_ms)
    if function is not None:
        return _define(function, name, isolation, batches, reconcile, uses_model)
    return lambda wrapped: _define(wrapped, name, isolation, batches, reconcile, uses_model)


def _define(
    function: Callable[..., Any],
    name: str,
    isolation: Isolation,
    batches: tuple[int, int, int],
    reconcile: Callable[[Context, str], Any] | None,
    uses_model: bool,
) -> AgentDefinition:
    from pydantic import ConfigDict, TypeAdapter, create_model

    name = name or function.__name__.replace("_", "-")
    if not AGENT_NAME.fullmatch(name):
        raise ValueError(f"agent name {name!r}: use a lower-case letter, then up to 63 of a-z, 0-9, _ and -")
    min_batch, max_batch, batch_target_ms = _checked_batches(name, *batches)
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    takes_context = False
    for position, parameter in enumerate(inspect.signature(function).parameters.values()):
        if position == 0 and hints.get(parameter.name) is Context:
            takes_context = True
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"agent {name}: parameter {parameter.name} cannot be passed by keyword")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    model = create_model(f"{name}-input", __config__=ConfigDict(extra="forbid"), **fields)
    return AgentDefinition(
        name=name,
        description=inspect.getdoc(function) or "",
        function=function,
        takes_context=takes_context,
        is_async=inspect.iscoroutinefunction(function),
        isolation=isolation,
        max_batch=max_batch,
        min_batch=min_batch,
        batch_target_ms=batch_target_ms,
        input_model=model,
        output_type=TypeAdapter(hints.get("return", Any)),
        reconcile=reconcile,
        uses_model=uses_model,
    )


def _checked_batches(name: str, least: int, most: int, target_ms: int) -> tuple[int, int, int]:
    if not 1 <= most <= MAX_BATCH_STEPS:
        raise ValueError(f"agent {name}: max_batch is {most}, and must lie between 1 and {MAX_BATCH_STEPS}")
    if not 1 <= least <= most:
        raise ValueError(f"agent {name}: min_batch is {least}, and must lie between 1 and max_batch, which is {most}")
    if not 0 <= target_ms <= MAX_BATCH_TARGET_MS:
        raise ValueError(
            f"agent {name}: batch_target_ms is {target_ms}, and must lie between 0 and {MAX_BATCH_TARGET_MS}"
        )
    return least, most, target_ms


def load_agents(modules: Iterable[str], *, entry_points: bool = True) -> dict[str, AgentDefinition]:
    """All agents found in the named modules and, unless told otherwise, in the installed entry points, by name.

    Raises ImportError for a module that does not import, ValueError for a module without agents or for two
    different agents of one name.
    """
    names = list(modules)
    if entry_points:
        from importlib import metadata

        names += [point.value.split(":")[0] for point in metadata.entry_points(group=ENTRY_POINT_GROUP)]
    found: dict[str, AgentDefinition] = {}
    for module_name in dict.fromkeys(names):
        module = importlib.import_module(module_name)
        agents = [value for value in vars(module).values() if isinstance(value, AgentDefinition)]
        if not agents:
            raise ValueError(f"module {module_name} defines no agent: decorate a function with @waybill.agent")
        for definition in agents:
            known = found.setdefault(definition.name, definition)
            if known is not definition:
                raise ValueError(f"two agents are named {definition.name}: rename the one in {module_name}")
    return found
