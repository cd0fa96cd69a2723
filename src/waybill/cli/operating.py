"""Owns what the commands for operators do: effects, dead letters, agents, the tenant.

Each returns its exit code and raises `waybill.errors`.
"""

from __future__ import annotations

from dataclasses import dataclass

from waybill.api.v1 import gateway_pb2, task_pb2
from waybill.cli import exits, tables
from waybill.cli.gateway import client_of, json_line
from waybill.cli.reading import read_json
from waybill.core.task import EffectState
from waybill.errors import InvalidArgument
from waybill.rpc import conversion
from waybill.steering import agent_name, chosen_request_id, letter_name, step_name, task_name

_PAGE_SIZE = 200


@dataclass(frozen=True)
class Decision:
    """The arguments of `waybill effect resolve`, as typed."""

    task: str
    step: str
    key: str
    done: bool
    failed: bool
    result: str
    request_id: str


async def list_effects(address: str, tenant: str, task: str, *, as_json: bool) -> int:
    """Print the effects of a task."""
    async with client_of(address, tenant) as client:
        request = gateway_pb2.ListEffectsRequest(parent=task_name(task))
        effects = (await client.call("ListEffects", request)).effects
    if as_json:
        for effect in effects:
            print(json_line(conversion.effect_to_json(effect)))
    elif effects:
        tables.print_effects(effects)
    else:
        exits.say("the agents of this task guard no effect")
    return exits.OK


async def resolve_effect(address: str, tenant: str, decision: Decision, *, as_json: bool) -> int:
    """Decide an effect and print the state it is in now."""
    if decision.done == decision.failed:
        raise InvalidArgument.of_field("--done, --failed", "give exactly one of them")
    if decision.failed and decision.result:
        raise InvalidArgument.of_field("--result", "is what a done effect returned; a failed one has none")
    state = EffectState.DONE if decision.done else EffectState.FAILED
    request = gateway_pb2.ResolveEffectRequest(
        step=step_name(decision.task, decision.step),
        key=decision.key,
        state=conversion.EFFECT_STATE_TO_PROTO[state],
        request_id=chosen_request_id(decision.request_id),
    )
    if decision.done:
        text = (decision.result or "null").encode()
        read_json(text, "--result")
        request.result.CopyFrom(conversion.json_payload(text))
    async with client_of(address, tenant) as client:
        effect = (await client.call("ResolveEffect", request)).effect
    if as_json:
        print(json_line(conversion.effect_to_json(effect)))
    else:
        tables.print_effects([effect])
    return exits.OK


async def list_letters(address: str, tenant: str, *, as_json: bool) -> int:
    """Print the dead letters."""
    request = gateway_pb2.ListDeadLettersRequest(page_size=_PAGE_SIZE)
    found: list[task_pb2.DeadLetter] = []
    async with client_of(address, tenant) as client:
        while True:
            page = await client.call("ListDeadLetters", request)
            found += page.dead_letters
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        for letter in found:
            print(json_line(conversion.letter_to_json(letter)))
    elif found:
        tables.print_letters(found)
    else:
        exits.say(f"tenant {tenant} has no dead letters")
    return exits.OK


async def show_letter(address: str, tenant: str, letter: str, *, as_json: bool) -> int:
    """Print a dead letter with its attempts."""
    async with client_of(address, tenant) as client:
        if as_json:
            request = gateway_pb2.GetDeadLetterRequest(name=letter_name(letter))
            print(json_line(conversion.letter_to_json((await client.call("GetDeadLetter", request)).dead_letter)))
        else:
            tables.print_letter(await client.dead_letter(letter))
    return exits.OK


async def retry_letter(address: str, tenant: str, letter: str, request_id: str, *, as_json: bool) -> int:
    """Remove a dead letter, retry its task, and print the state it is in now."""
    request = gateway_pb2.RetryDeadLetterRequest(name=letter_name(letter), request_id=chosen_request_id(request_id))
    async with client_of(address, tenant) as client:
        task = (await client.call("RetryDeadLetter", request)).task
    state = conversion.TASK_STATE_FROM_PROTO[task.state].value
    print(json_line(conversion.task_to_json(task)) if as_json else f"{task.name} {state}")
    return exits.OK


async def drop_letter(address: str, tenant: str, letter: str, request_id: str, *, as_json: bool) -> int:
    """Remove a dead letter."""
    async with client_of(address, tenant) as client:
        await client.drop_dead_letter(letter, request_id or None)
    name = letter_name(letter)
    print(json_line({"name": name}) if as_json else f"{name} dropped")
    return exits.OK


async def list_agents(address: str, tenant: str, *, as_json: bool) -> int:
    """Print the agents that workers have announced."""
    async with client_of(address, tenant) as client:
        known = (await client.call("ListAgents", gateway_pb2.ListAgentsRequest())).agents
    if as_json:
        for agent in known:
            print(json_line(conversion.agent_to_json(agent)))
    elif known:
        tables.print_agents(known)
    else:
        exits.say("no worker has announced an agent yet")
    return exits.OK


async def pause_agent(address: str, tenant: str, name: str, paused: bool, request_id: str, *, as_json: bool) -> int:
    """Pause or resume an agent, and print what it is now."""
    method = "PauseAgent" if paused else "ResumeAgent"
    message = gateway_pb2.PauseAgentRequest if paused else gateway_pb2.ResumeAgentRequest
    request = message(name=agent_name(name), request_id=chosen_request_id(request_id))
    async with client_of(address, tenant) as client:
        agent = (await client.call(method, request)).agent
    print(json_line(conversion.agent_to_json(agent)) if as_json else f"{agent.name} {_state_of(agent.paused)}")
    return exits.OK


async def pause_tenant(address: str, tenant: str, paused: bool, request_id: str, *, as_json: bool) -> int:
    """Pause or resume the tenant, and print what it is now."""
    method = "PauseTenant" if paused else "ResumeTenant"
    message = gateway_pb2.PauseTenantRequest if paused else gateway_pb2.ResumeTenantRequest
    async with client_of(address, tenant) as client:
        after = (await client.call(method, message(request_id=chosen_request_id(request_id)))).tenant
    print(json_line(conversion.tenant_to_json(after)) if as_json else f"{after.name} {_state_of(after.paused)}")
    return exits.OK


def _state_of(paused: bool) -> str:
    return "paused" if paused else "running"
