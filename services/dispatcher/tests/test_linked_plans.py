"""A plan that comes again is answered from memory, and never with what belongs to another plan or to other agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from waybill_dispatcher import linked_plans
from waybill_dispatcher.directory import AgentDirectory
from waybill_dispatcher.linked_plans import LinkedPlans

from waybill.api.v1 import task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.plan import Graph
from waybill.errors import InvalidPlan
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import AgentOffer, WorkerOffer
from waybill.rpc.linking import link_plan

ANY = '{"type":"object"}'
NUMBERS = '{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}'
OTHER = {"name": "renamed", "agent": "second"}


@pytest.fixture
async def open_ledger(embedded_url: str) -> AsyncIterator[Ledger]:
    opened = Ledger(embedded_url)
    await opened.connect()
    yield opened
    await opened.close()


async def announce(ledger: Ledger, **schemas: str) -> None:
    offers = tuple(AgentOffer(name, "", schema, "", 8) for name, schema in schemas.items())
    await ledger.register(WorkerOffer("hand.1", "hand", "127.0.0.1:1", 8, offers))


def full_plan() -> task_pb2.Plan:
    """A plan that sets every field of a step, its question apart, and those of a question in another step."""
    first = task_pb2.PlanStep(name="first", agent="echo", input=task_pb2.Payload(data=b'{"n":1}'))
    step = task_pb2.PlanStep(
        name="second",
        agent="echo",
        input=task_pb2.Payload(media_type="application/json", data=b'{"n":2}'),
        after=["first"],
        retry=task_pb2.RetryPolicy(
            max_attempts=5,
            initial_backoff_ms=10,
            max_backoff_ms=20,
            multiplier=3.0,
            jitter=0.25,
            final_reasons=["NO"],
        ),
        run_timeout_ms=1_000,
        queue_timeout_ms=2_000,
        when=["${first.ok}"],
        allow_skipped=True,
        limits=["db"],
    )
    question = task_pb2.Question(prompt="Send?", answer_schema='{"type":"boolean"}', timeout_ms=60_000)
    question.default_answer.data = b"false"
    asks = task_pb2.PlanStep(name="asks", question=question, after=["second"])
    return task_pb2.Plan(steps=[first, step, asks], failure_policy=task_pb2.FAILURE_POLICY_CONTINUE)


def another(name: str, value: Any) -> Any:
    if name in OTHER and value != OTHER[name]:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, bytes):
        return {b'{"n":2}': b'{"n":3}', b"false": b"true"}.get(value, b"{}")
    if isinstance(value, str):
        return "application/json" if name == "media_type" else value + "x"
    return value + 1


def variants(plan: task_pb2.Plan, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, task_pb2.Plan]]:
    """For each field that the plan sets, at any depth: the plan with another value of it, and the plan without it."""
    message: Any = plan
    for part in path:
        message = message[part] if isinstance(part, int) else getattr(message, part)
    for field, value in message.ListFields():
        for position in range(len(value)) if field.is_repeated else (None,):
            below = (*path, field.name) if position is None else (*path, field.name, position)
            if field.message_type is not None:
                yield from variants(plan, below)
                continue
            changed = type(plan).FromString(plan.SerializeToString())
            at: Any = changed
            for part in path:
                at = at[part] if isinstance(part, int) else getattr(at, part)
            if position is None:
                setattr(at, field.name, another(field.name, value))
            else:
                getattr(at, field.name)[position] = another(field.name, value[position])
            yield ".".join(map(str, below)), changed
        changed = type(plan).FromString(plan.SerializeToString())
        at = changed
        for part in path:
            at = at[part] if isinstance(part, int) else getattr(at, part)
        at.ClearField(field.name)
        yield ".".join(map(str, (*path, field.name, "left out"))), changed


async def linked(directory: AgentDirectory, plan: task_pb2.Plan, policy: TaskPolicy | None = None) -> Graph | list[str]:
    try:
        return await directory.link(plan, policy)
    except InvalidPlan as refused:
        return [f"{item.field}: {item.description}" for item in refused.violations]


async def test_given_plans_that_differ_in_any_field_then_each_gets_its_own_graph_or_refusal(open_ledger) -> None:
    await announce(open_ledger, echo=NUMBERS, second=ANY)
    directory = AgentDirectory(open_ledger)
    original = full_plan()
    plans = {"as it is": original, **dict(variants(original))}
    assert len(plans) > 40
    schemas = await directory.schemas()

    def fresh(plan: task_pb2.Plan) -> Graph | list[str]:
        try:
            return link_plan(plan, schemas)
        except InvalidPlan as refused:
            return [f"{item.field}: {item.description}" for item in refused.violations]

    for _ in range(2):
        for what, plan in plans.items():
            assert await linked(directory, plan) == fresh(plan), what


async def test_given_a_linked_plan_then_it_is_known_again_and_another_policy_still_decides(open_ledger) -> None:
    await announce(open_ledger, echo=ANY, second=ANY)
    directory = AgentDirectory(open_ledger)
    graph = await directory.link(full_plan())
    assert await directory.link(full_plan()) is graph
    refused = await linked(directory, full_plan(), TaskPolicy(allowed_agents=("second",)))
    assert refused == [f"plan.steps[{at}].agent: the task's policy does not allow agent echo" for at in (0, 1)]
    assert await directory.link(full_plan(), TaskPolicy(allowed_agents=("echo",))) == graph


async def test_given_an_agents_schema_changes_then_a_linked_plan_is_checked_against_the_new_one(open_ledger) -> None:
    await announce(open_ledger, echo=ANY)
    directory = AgentDirectory(open_ledger)
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name="a", agent="echo", input=task_pb2.Payload(data=b'{"m":1}'))])
    await directory.link(plan)
    await announce(open_ledger, echo=NUMBERS)
    await directory.records(newest=True)
    found = await linked(directory, plan)
    assert isinstance(found, list)
    assert found[0].startswith("plan.steps[0].input")


async def test_given_nothing_but_the_backlog_changes_then_linked_plans_stay_known(open_ledger) -> None:
    await announce(open_ledger, echo=ANY)
    directory = AgentDirectory(open_ledger)
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name="a", agent="echo")])
    graph = await directory.link(plan)
    await open_ledger.register(WorkerOffer("more.1", "more", "h:1", 8, (AgentOffer("echo", "", ANY, "", 8),)))
    await directory.records(newest=True)
    assert await directory.link(plan) is graph


async def test_given_an_agent_disappears_while_a_plan_is_linked_then_that_is_not_kept(open_ledger, monkeypatch) -> None:
    await announce(open_ledger, echo=ANY)
    directory = AgentDirectory(open_ledger)
    plan = task_pb2.Plan(steps=[task_pb2.PlanStep(name=f"s{at}", agent="echo") for at in range(200)])
    await directory.schemas()
    agents = {record.name: record for record in await open_ledger.agents()}

    async def linked_meanwhile(function, *arguments):
        graph = function(*arguments)
        monkeypatch.setattr(open_ledger, "agents", none_left)
        await directory.records(newest=True)
        return graph

    async def none_left():
        return []

    monkeypatch.setattr("waybill_dispatcher.directory.asyncio.to_thread", linked_meanwhile)
    assert len((await directory.link(plan)).steps) == 200
    assert list(agents) == ["echo"]
    monkeypatch.undo()
    monkeypatch.setattr(open_ledger, "agents", none_left)
    assert isinstance(await linked(directory, plan), list)


def key_of(number: int, size_bytes: int = 0) -> linked_plans.Key:
    return (b"%d" % number).ljust(size_bytes, b"."), None


def test_given_more_plans_than_are_kept_then_what_was_not_used_for_longest_goes(monkeypatch) -> None:
    monkeypatch.setattr(linked_plans, "MAX_PLANS", 3)
    kept, graph = LinkedPlans(), Graph(())
    for number in range(3):
        kept.keep(key_of(number), graph)
    assert kept.find(key_of(0)) is graph
    kept.keep(key_of(3), graph)
    assert [kept.find(key_of(number)) is graph for number in range(4)] == [True, False, True, True]


def test_given_large_plans_then_what_is_kept_is_bounded_by_bytes() -> None:
    kept, graph = LinkedPlans(), Graph(())
    kept.keep(key_of(0, linked_plans.MAX_PLAN_BYTES + 1), graph)
    assert kept.find(key_of(0, linked_plans.MAX_PLAN_BYTES + 1)) is None
    count = 2 * linked_plans.MAX_BYTES // linked_plans.MAX_PLAN_BYTES
    for number in range(count):
        kept.keep(key_of(number, linked_plans.MAX_PLAN_BYTES), graph)
    found = [kept.find(key_of(number, linked_plans.MAX_PLAN_BYTES)) is graph for number in range(count)]
    assert sum(found) == count // 2
    assert found == sorted(found)
    kept.clear()
    assert kept.find(key_of(count - 1, linked_plans.MAX_PLAN_BYTES)) is None


def one_step(data: bytes, **fields: Any) -> task_pb2.Plan:
    step = task_pb2.PlanStep(name="a", agent="echo", input=task_pb2.Payload(data=data), **fields)
    return task_pb2.Plan(steps=[step])


async def test_given_a_plan_of_a_known_shape_then_its_own_input_is_linked_and_checked(open_ledger) -> None:
    await announce(open_ledger, echo=NUMBERS)
    directory = AgentDirectory(open_ledger)
    schemas = await directory.schemas()
    for data in (b'{"n":1}', b'{"n":2}', b"{}", b"", b'{"n":1}'):
        assert await directory.link(one_step(data)) == link_plan(one_step(data), schemas)
    for data in (b'{"n":"x"}', b'{"m":1}', b"[]", b"{", b'{"n":"${b.c}"}'):
        with pytest.raises(InvalidPlan) as refused:
            await directory.link(one_step(data))
        with pytest.raises(InvalidPlan) as whole:
            link_plan(one_step(data), schemas)
        assert refused.value.violations == whole.value.violations
    another = one_step(b'{"n":3}', run_timeout_ms=7)
    assert (await directory.link(another)).steps[0].step.run_timeout_ms == 7


async def test_given_a_known_shape_when_the_schema_changes_then_other_inputs_are_checked_by_the_new_one(
    open_ledger,
) -> None:
    await announce(open_ledger, echo=ANY)
    directory = AgentDirectory(open_ledger)
    await directory.link(one_step(b'{"m":1}'))
    await announce(open_ledger, echo=NUMBERS)
    await directory.records(newest=True)
    assert isinstance(await linked(directory, one_step(b'{"m":2}')), list)
    assert isinstance(await linked(directory, one_step(b'{"n":2}')), Graph)
