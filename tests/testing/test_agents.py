"""Running agents in memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from waybill import Context, agent
from waybill.core.task import Document, Usage
from waybill.errors import AgentError, Permanent
from waybill.testing import MemoryContext, Progress, run_agent


@agent
async def summer(ctx: Context, numbers: list[int]) -> dict[str, int]:
    """Add numbers up, and report all there is to report."""
    ctx.progress("adding", 0.5)
    ctx.text("one ")
    ctx.text("two")
    ctx.spend(input_tokens=len(numbers))
    ctx.spend(output_tokens=1, cost_microusd=7)
    return {"sum": sum(numbers), "attempt": ctx.attempt, "documents": len(await ctx.documents())}


@agent
def plain(name: str) -> str:
    """Greet, without a context."""
    return f"Hello {name}"


async def test_a_run_gives_the_output_and_what_was_reported() -> None:
    run = await run_agent(summer, {"numbers": [1, 2]}, documents=[Document("a", "", b"x")], attempt=3)
    assert run.output == run.value == {"sum": 3, "attempt": 3, "documents": 1}
    assert run.progress == [Progress("adding", 0.5)]
    assert run.text == "one two"
    assert run.usage == Usage(input_tokens=2, output_tokens=1, cost_microusd=7)


async def test_plain_functions_run_too() -> None:
    assert (await run_agent(plain, {"name": "Ada"})).output == "Hello Ada"


@pytest.mark.parametrize("given", [{}, {"numbers": ["x"]}, {"numbers": [1], "more": 1}])
async def test_an_input_that_does_not_fit_is_refused_as_by_a_worker(given: dict[str, object]) -> None:
    with pytest.raises(Permanent) as caught:
        await run_agent(summer, given)
    assert caught.value.reason == "INPUT_INVALID"


async def test_an_output_that_does_not_fit_is_refused_as_by_a_worker() -> None:
    @agent
    async def liar() -> int:
        return "three"  # type: ignore[return-value]

    with pytest.raises(Permanent) as caught:
        await run_agent(liar, {})
    assert caught.value.reason == "OUTPUT_INVALID"


async def test_given_a_failing_agent_when_run_with_a_context_then_its_reports_are_kept() -> None:
    @agent
    async def failing(ctx: Context) -> None:
        ctx.progress("trying")
        raise AgentError(f"attempt {ctx.attempt} of {ctx.idempotency_key}")

    context = MemoryContext(task="t", step="s", attempt=2)
    with pytest.raises(AgentError, match="attempt 2 of t/s"):
        await run_agent(failing, {}, context=context)
    assert context.reported == [Progress("trying")]


async def test_an_agent_sees_that_it_is_cancelled() -> None:
    @agent
    async def patient(ctx: Context) -> str:
        while not ctx.cancelled:
            await asyncio.sleep(0)
        return "stopped"

    context = MemoryContext()
    run = asyncio.create_task(run_agent(patient, {}, context=context))
    context.cancel()
    assert (await run).output == "stopped"


async def test_an_agent_is_stopped_after_its_time_and_knows_its_deadline() -> None:
    @agent
    async def late(ctx: Context) -> None:
        assert ctx.deadline > time.time() - 60
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await run_agent(late, {}, timeout_seconds=0.05)


def test_tests_of_agents_load_nothing_of_what_checks_plans() -> None:
    code = "import sys, waybill.testing; sys.exit('jsonschema' in sys.modules or 'waybill.api' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
