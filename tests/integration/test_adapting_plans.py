"""Plans that adapt, as whole suites run them: conditions, lists found at run time, bounded loops, and revisions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from model_plans import KEY, calls_of, kind_of, rule
from model_server import Behaviour, ModelServer

from waybill.client import Client
from waybill.core.task import EventType

GOAL = "Why do tides turn?"
LLM_PLAN = [{"name": "think", "agent": "llm", "input": {"prompt": "Think."}}]
FAILING = {
    "failure_policy": "replan",
    "steps": [
        {"name": "good", "agent": "add", "input": {"values": [1, 2]}},
        {"name": "bad", "agent": "hopeless", "after": ["good"]},
        {"name": "last", "agent": "add", "input": {"values": ["${good}", "${bad}"]}},
    ],
}
PATCH = {
    "steps": [{"name": "instead", "agent": "add", "input": {"values": ["${good}", 10]}}],
    "drop": [],
    "substitutes": [{"old": "bad", "new": "instead"}],
    "reason": "there is another way",
}
POLICY = {"allowed_agents": ["add", "hopeless", "undecided", "echo"]}


async def end_of(suite, body: dict[str, Any]) -> tuple[dict[str, Any], list]:
    """A task at its end, and its events."""
    async with httpx.AsyncClient(base_url=suite.http) as http, Client(suite.address) as client:
        accepted = await http.post("/v1/tasks", json=body)
        assert accepted.status_code in (200, 201), accepted.text
        name = accepted.json()["name"]
        events = [event async for event in client.watch(name)]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        return (await http.get(f"/v1/{name}")).json(), events


def ends(events: list) -> dict[str, str]:
    return {event.step: event.step_state.value for event in events if event.type is EventType.STEP_FINISHED}


async def test_conditions_choose_between_branches(suite) -> None:
    steps = [
        {"name": "check", "agent": "echo", "input": {"value": {"size": 7}}},
        {"name": "large", "agent": "add", "input": {"values": [100]}, "when": ["${check.value.size > `5`}"]},
        {"name": "small", "agent": "add", "input": {"values": [1]}, "when": ["${check.value.size <= `5`}"]},
        {
            "name": "join",
            "agent": "echo",
            "input": {"value": ["${large}", "${small}"]},
            "allow_skipped": True,
        },
    ]
    task, events = await end_of(suite, {"plan": {"steps": steps}})
    assert task["output"]["value"] == [100, None]
    assert ends(events) == {"check": "succeeded", "large": "succeeded", "small": "skipped", "join": "succeeded"}
    (why,) = [event.message for event in events if ends([event]) == {"small": "skipped"}]
    assert why == "when[0], @.value.size <= `5` of step 1, is false or empty"


async def test_an_agent_maps_over_a_list_that_it_found(suite) -> None:
    steps = [
        {"name": "map", "agent": "mapper", "input": {"items": [1, 2, 3]}},
        {"name": "after", "agent": "add", "input": {"values": ["${map}", 1000]}},
    ]
    task, events = await end_of(suite, {"plan": {"steps": steps}})
    assert task["output"] == 1306
    assert set(ends(events)) == {"map", "item-1", "item-2", "item-3", "joined", "after"}
    (revised,) = [event for event in events if event.type is EventType.PLAN_REVISED]
    assert (revised.revision, revised.step_count, revised.step) == (2, 6, "map")


async def test_a_loop_goes_on_until_its_bound(suite) -> None:
    steps = [
        {"name": "loop", "agent": "countdown", "input": {"left": 4}},
        {"name": "after", "agent": "echo", "input": {"value": "${loop}"}},
    ]
    task, events = await end_of(suite, {"plan": {"steps": steps}})
    assert task["output"]["value"] == 4
    assert [step for step in ends(events) if step.startswith("turn-")] == ["turn-4", "turn-3", "turn-2", "turn-1"]


async def test_a_loop_without_a_bound_meets_that_of_its_policy(suite) -> None:
    steps = [{"name": "loop", "agent": "countdown", "input": {"left": 50}}]
    task, events = await end_of(suite, {"plan": {"steps": steps}, "policy": {"max_added_steps": 3}})
    assert (task["state"], task["failure"]["reason"]) == ("failed", "PATCH_INVALID")
    assert len(ends(events)) == 4


async def test_given_no_model_then_a_plan_that_wants_another_fails_as_its_step_did(suite) -> None:
    task, _ = await end_of(suite, {"plan": FAILING})
    assert (task["state"], task["failure"]["reason"]) == ("failed", "AGENT_PERMANENT")
    assert task["failure"]["message"].startswith("this cannot work; the plan was not revised: ")


@pytest.mark.parametrize("agent", ["hopeless", "undecided"])
async def test_a_plan_is_revised_where_a_step_fails_or_asks_for_it(modelled_suite, model_port: int, agent: str) -> None:
    plan = json.loads(json.dumps(FAILING).replace("hopeless", agent))
    async with ModelServer(rule(patch=PATCH), port=model_port, api_key=KEY) as server:
        task, events = await end_of(modelled_suite, {"plan": plan, "policy": POLICY})
        assert (task["state"], task["output"]) == ("succeeded", 16)
        kinds = [event.type for event in events]
        assert kinds.index(EventType.REVISION_REQUESTED) < kinds.index(EventType.PLAN_REVISED)
        (asked,) = [request for request in server.requests if kind_of(request) == "patch"]
        assert "this" in asked.last


async def test_given_patches_that_the_policy_does_not_allow_then_none_of_it_runs_and_the_refusal_is_told(
    modelled_suite, model_port: int
) -> None:
    leak = {**PATCH, "steps": [{"name": "instead", "agent": "echo", "input": {"value": "leak"}}]}
    policy = {"allowed_agents": ["add", "hopeless"]}
    async with ModelServer(rule(patch=leak), port=model_port, api_key=KEY):
        task, events = await end_of(modelled_suite, {"plan": FAILING, "policy": policy})
        assert task["state"] == "failed"
        assert "instead" not in ends(events)
        (why,) = [event.failure for event in events if event.type is EventType.PLANNING_PROGRESS and event.failure]
        assert why.reason == "MODEL_PLAN_INVALID"
        assert "echo" in why.message


async def until_asked(server: ModelServer, kind: str, times: int = 1) -> None:
    """Return once the model was asked for that so many times."""
    async with asyncio.timeout(60):
        while [kind_of(request) for request in server.requests].count(kind) < times:
            await asyncio.sleep(0.02)


async def killed_while(suite, server: ModelServer, kind: str, victim: str, body: dict[str, Any]):
    """A task at its end, whose planning or revision saw a process killed in the middle of its first call."""
    async with httpx.AsyncClient(base_url=suite.http) as http, Client(suite.address) as client:
        name = (await http.post("/v1/tasks", json=body)).json()["name"]
        await until_asked(server, kind)
        suite.kill(victim)
        async with asyncio.timeout(90):
            async for _ in client.watch(name):
                pass
        await server.idle()
        return (await http.get(f"/v1/{name}")).json(), await calls_of(http, name)


def covers(calls: list[dict[str, Any]], server: ModelServer) -> bool:
    """Whether what the ledger counts is no less than what the provider billed, call by call where nothing was lost."""
    billed = {item.call.rpartition("/")[2]: item for item in server.bill if item.call.split("/")[1] == "0"}
    for call in calls:
        item = billed.get(str(call["call"]))
        if item is not None and call["state"] == "settled" and "/steps/" not in call["step"]:
            used = (call["usage"]["input_tokens"], call["usage"]["output_tokens"])
            assert used == (item.prompt_tokens, item.completion_tokens)
    # By the list of known prices: 0.15 and 0.6 dollars for a million tokens.
    cost = sum(item.prompt_tokens * 15 + item.completion_tokens * 60 for item in server.bill) / 100
    return sum(call["usage"]["cost_microusd"] for call in calls) >= cost


@pytest.mark.parametrize("victim", ["planner", "dispatcher"])
async def test_given_a_process_that_is_killed_while_a_model_plans_then_the_goal_is_planned_and_the_bill_covered(
    modelled_suite, model_port: int, victim: str
) -> None:
    plain = rule(LLM_PLAN)

    def slow_first(request):
        answer = plain(request)
        first = [kind_of(item) for item in server.requests].count("plan") == 1
        return Behaviour(text=answer.text, first_token_seconds=3 if first and kind_of(request) == "plan" else 0)

    async with ModelServer(slow_first, port=model_port, api_key=KEY) as server:
        task, calls = await killed_while(modelled_suite, server, "plan", victim, {"goal": GOAL})
        assert task["state"] == "succeeded", task
        planner = [call for call in calls if "/steps/" not in call["step"]]
        assert [(call["call"], call["state"]) for call in planner] == [(1, "estimated"), (2, "settled")]
        assert task["usage"]["estimated_microusd"] == planner[0]["usage"]["cost_microusd"] > 0
        assert covers(calls, server)


@pytest.mark.parametrize("victim", ["planner", "dispatcher"])
async def test_given_a_process_that_is_killed_while_a_model_revises_then_the_plan_is_revised_and_the_bill_covered(
    modelled_suite, model_port: int, victim: str
) -> None:
    plain = rule(patch=PATCH)

    def slow_first(request):
        answer = plain(request)
        first = [kind_of(item) for item in server.requests].count("patch") == 1
        return Behaviour(text=answer.text, first_token_seconds=3 if first and kind_of(request) == "patch" else 0)

    async with ModelServer(slow_first, port=model_port, api_key=KEY) as server:
        task, calls = await killed_while(modelled_suite, server, "patch", victim, {"plan": FAILING, "policy": POLICY})
        assert (task["state"], task["output"]) == ("succeeded", 16)
        assert [(call["call"], call["state"]) for call in calls] == [(1, "estimated"), (2, "settled")]
        assert covers(calls, server)
