"""A spec shown as JSON is the spec again once it is read."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from waybill.api.v1 import task_pb2
from waybill.rpc.payloads import json_payload
from waybill.rpc.spec_json import spec_to_json
from waybill.rpc.specs import spec_from_json

texts = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=10)
values = st.sampled_from([b"{}", b'{"a":[1,2.5,null]}', b"18446744073709551617", b'"${task.input}"'])
payloads = st.builds(json_payload, values)
questions = st.builds(
    task_pb2.Question,
    prompt=texts,
    answer_schema=st.sampled_from(["", '{"type":"object"}']),
    timeout_ms=st.integers(0, 1_000),
    default_answer=st.none() | payloads,
)
retries = st.builds(
    task_pb2.RetryPolicy,
    max_attempts=st.integers(0, 9),
    initial_backoff_ms=st.none() | st.integers(0, 9),
    max_backoff_ms=st.none() | st.integers(0, 9),
    multiplier=st.none() | st.sampled_from([1.0, 2.5]),
    jitter=st.none() | st.sampled_from([0.0, 0.5]),
    final_reasons=st.lists(st.sampled_from(["GONE", "BAD"]), max_size=2),
)
steps = st.builds(
    task_pb2.PlanStep,
    name=st.sampled_from(["a", "b"]),
    agent=st.sampled_from(["", "echo"]),
    input=st.none() | payloads,
    after=st.lists(st.just("a"), max_size=1),
    retry=st.none() | retries,
    run_timeout_ms=st.sampled_from([0, 5]),
    queue_timeout_ms=st.sampled_from([0, 5]),
    question=st.none() | questions,
    when=st.lists(st.just("${a}"), max_size=1),
    allow_skipped=st.booleans(),
    limits=st.lists(st.just("crm"), max_size=1),
)
documents = st.builds(
    task_pb2.Document,
    name=texts,
    media_type=st.sampled_from(["", "text/plain"]),
    data=st.binary(max_size=10) | texts.map(str.encode),
)
policies = st.builds(
    task_pb2.TaskPolicy,
    allowed_agents=st.lists(st.just("echo"), max_size=1),
    allowed_hosts=st.lists(st.just("example.org"), max_size=1),
    max_revisions=st.none() | st.integers(0, 5),
    max_added_steps=st.none() | st.integers(0, 5),
)
budgets = st.builds(
    task_pb2.Budget,
    max_cost_microusd=st.integers(1, 100),
    on_limit=st.sampled_from([task_pb2.BUDGET_ACTION_STOP, task_pb2.BUDGET_ACTION_ASK]),
)
plans = st.builds(
    task_pb2.Plan,
    steps=st.lists(steps, max_size=3),
    failure_policy=st.sampled_from([task_pb2.FAILURE_POLICY_STOP, task_pb2.FAILURE_POLICY_CONTINUE]),
)
specs = st.builds(
    task_pb2.TaskSpec,
    goal=st.just("") | texts,
    plan=st.none() | plans,
    input=st.none() | payloads,
    documents=st.lists(documents, max_size=2),
    paths=st.lists(texts, max_size=2),
    priority=st.sampled_from([task_pb2.PRIORITY_NORMAL, task_pb2.PRIORITY_HIGH, task_pb2.PRIORITY_LOW]),
    labels=st.dictionaries(st.just("team"), texts),
    deadline_ms=st.sampled_from([0, 5]),
    template=st.sampled_from(["", "report"]),
    parameters=st.none() | payloads,
    budget=st.none() | budgets,
    policy=st.none() | policies,
)


@given(specs)
def test_given_any_spec_when_shown_and_read_then_it_is_the_same(spec: task_pb2.TaskSpec) -> None:
    again = spec_from_json(spec_to_json(spec))
    for message in (spec, again):
        for holder in (message, *message.plan.steps):
            for payload in (holder.input, getattr(holder, "parameters", holder.input)):
                if payload.data:  # the same value may be written with other spaces
                    payload.data = json.dumps(json.loads(payload.data)).encode()
    assert again == spec
