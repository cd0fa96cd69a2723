"""The agent `llm`: asks a model with a prompt that is made from a template and values."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from waybill import Context, agent
from waybill.core.limits import MAX_INPUT_BYTES
from waybill.core.task import Usage
from waybill_worker.agents.fencing import RULE

MAX_SYSTEM_CHARS = 64 * 1024


class ModelUsage(BaseModel):
    """What the provider counted. Cached tokens are part of the input, reasoning of the output."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_microusd: int = Field(description="in millionths of a US dollar")

    @classmethod
    def of(cls, usage: Usage) -> ModelUsage:
        """From the usage of a reply."""
        return cls(**{name: getattr(usage, name) for name in cls.model_fields})


class LlmAnswer(BaseModel):
    """What `llm` returns."""

    text: str = Field(description="what the model wrote")
    value: Any = Field(default=None, description="the same as a JSON value that fits `output`, if that was given")
    model: str = Field(description="the provider's name of the model that answered")
    usage: ModelUsage = Field(description="of all calls that the answer took")


@agent(uses_model=True)
async def llm(
    ctx: Context,
    prompt: Annotated[
        str,
        Field(min_length=1, max_length=MAX_INPUT_BYTES, description="template: `{{name}}` or `{{a.b[0]}}` for a value"),
    ],
    values: Annotated[dict[str, Any], Field(description="the data that the template shows, fenced as such")] = {},  # noqa: B006 - never changed
    system: Annotated[str, Field(max_length=MAX_SYSTEM_CHARS, description="what the model is told first")] = "",
    model: Annotated[str, Field(max_length=255, description="one of the operator's names; else the agent's own")] = "",
    output: Annotated[dict[str, Any] | None, Field(description="JSON Schema that the answer has to fit")] = None,
    max_output_tokens: Annotated[int | None, Field(ge=1, le=1_000_000)] = None,
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None,
    stream: Annotated[bool, Field(description="whether watchers get the text as it comes; not with `output`")] = True,
) -> LlmAnswer:
    """Ask a model.

    Values are data: texts, lists and objects stand between marks in the prompt, and the model is told that nothing in
    them is an order. With `output` the answer is JSON of that form: one that does not fit goes back to the model, twice
    at most.
    """
    from waybill_worker.agents.templates import fill

    rules = "\n\n".join(part for part in (RULE if values else "", system) if part)
    reply = await ctx.chat(
        fill(prompt, values, ctx.idempotency_key),
        system=rules,
        model=model,
        output=output,
        max_output_tokens=max_output_tokens,
        temperature=temperature,
        stream=stream and output is None,
    )
    return LlmAnswer(text=reply.text, value=reply.value, model=reply.model, usage=ModelUsage.of(reply.usage))
