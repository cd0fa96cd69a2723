"""What users write, for the type checker: both clients, plans, agents and tests. It is never run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from waybill import Budget, Client, Context, PlanBuilder, SyncClient, TaskPolicy, agent
from waybill.core.task import Document, Event, StepState, TaskState, Usage
from waybill.errors import FailedPrecondition, WaybillError
from waybill.progress import Progress
from waybill.resources import Step, Submission, Task
from waybill.testing import AgentRun, MemoryEffects, PlanRun, Revision, ScriptedModel, run_agent, run_plan
from waybill.testing.suite import PrivateSuite


@agent
async def greet(ctx: Context, name: str) -> dict[str, str]:
    """Greet somebody."""
    ctx.progress("greeting", 0.5)
    return {"greeting": f"Good day, {name}!"}


@agent(name="count-words", isolation="thread")
def count_words(text: str) -> int:
    """Count words."""
    return len(text.split())


def plan() -> PlanBuilder:
    made = PlanBuilder()
    greeting = made.step("greet", greet, name="Ada")
    made.step("count", count_words, text=greeting.output.greeting)
    return made


async def waits_on_a_loop() -> Sequence[Step]:
    async with Client("127.0.0.1:7400", tenant="acme") as client:
        task: Task = await client.submit(plan=plan(), labels={"team": "x"}, budget=Budget(max_cost_microusd=5))
        async for event in client.watch(task):
            seen: Event = event
            print(seen.sequence)
        async with client.run(goal="Why?", documents=[Document("a", "text/plain", b"")]) as run:
            async for progress in run.progress():
                now: Progress = progress
                print(now.fraction, now.steps.get(StepState.RUNNING, 0), now.text.get("draft", ""))
            print(await run.result(), run.task.usage.cost_microusd)
        outcomes: Sequence[Task | WaybillError] = await client.submit_many([Submission(goal="a")])
        print(outcomes, [task.id async for task in client.list([TaskState.FAILED])])
        return await client.steps(task)


def waits() -> Sequence[Step]:
    with SyncClient("127.0.0.1:7400", tenant="acme") as client:
        task: Task = client.submit(plan=plan(), labels={"team": "x"}, policy=TaskPolicy(max_revisions=1))
        for event in client.watch(task):
            seen: Event = event
            print(seen.sequence)
        with client.run(goal="Why?") as run:
            for progress in run.progress():
                now: Progress = progress
                print(now.fraction, now.steps.get(StepState.RUNNING, 0), now.text.get("draft", ""))
            print(run.result(), run.task.usage.cost_microusd)
        names: list[str] = [found.id for found in client.list([TaskState.FAILED])]
        events = client.watch(task)
        events.close()
        usage: Usage = client.usage(task).total
        print(names, usage, client.call)
        try:
            client.cancel(task)
        except FailedPrecondition as error:
            print(error.reason)
        return client.steps(task)


async def tests_in_memory() -> None:
    one: AgentRun = await run_agent(greet, {"name": "Ada"}, model=ScriptedModel(["yes"]))

    def replan(revision: Revision) -> Mapping[str, object] | None:
        return None if revision.step == "greet" else {"drop": ["count"]}

    ran: PlanRun = await run_plan(plan(), [greet, count_words], answers={}, replan=replan, effects=MemoryEffects())
    print(one.output, ran.output, ran.steps["count"].state is StepState.SUCCEEDED)


def test_with_fixtures(
    waybill_run_plan: Callable[..., PlanRun], waybill_suite: PrivateSuite, waybill_client: SyncClient
) -> None:
    assert waybill_run_plan(plan(), [greet, count_words]).output == 3
    assert waybill_suite.address == waybill_client.address
