"""Patches as messages: what is written is read back, and what is wrong is told by field."""

from __future__ import annotations

import pytest

from waybill.api.v1 import task_pb2
from waybill.core.budget import TaskPolicy
from waybill.core.patch import Patch
from waybill.core.plan import PlanStep, Question, RetryPolicy
from waybill.errors import InvalidPlan
from waybill.rpc.budgets import policy_from_proto, policy_to_proto
from waybill.rpc.patches import patch_from_proto, patch_to_proto
from waybill.rpc.payloads import json_payload

FULL = PlanStep(
    "full",
    "echo",
    input=b'{"x": "${draft}"}',
    after=("check",),
    retry=RetryPolicy(max_attempts=5, final_reasons=("GONE",)),
    run_timeout_ms=1_000,
    queue_timeout_ms=2_000,
    when=("${check.ok}",),
    allow_skipped=True,
    limits=("crm",),
)
ASKING = PlanStep("ask", question=Question("go?", '{"type": "string"}', 5_000, b'"no"'))


@pytest.mark.parametrize(
    "patch",
    [Patch((FULL, ASKING), ("late",), {"draft": "full", "late": "ask"}, "the draft failed"), Patch(drop=("late",))],
)
def test_given_a_patch_then_its_message_says_the_same(patch: Patch) -> None:
    message = patch_to_proto(patch)
    assert patch_from_proto(task_pb2.PlanPatch.FromString(message.SerializeToString())) == patch


def test_given_wrong_fields_then_each_is_told_by_its_path() -> None:
    patch = patch_to_proto(Patch((FULL, FULL)))
    patch.steps[0].input.CopyFrom(json_payload(b"[1]"))
    patch.steps[1].retry.max_attempts = 1_000
    patch.steps[1].run_timeout_ms = -1
    with pytest.raises(InvalidPlan) as raised:
        patch_from_proto(patch)
    fields = [violation.field for violation in raised.value.violations]
    assert fields == ["patch.steps[0].input", "patch.steps[1].retry.max_attempts", "patch.steps[1].run_timeout_ms"]


@pytest.mark.parametrize("policy", [TaskPolicy(), TaskPolicy(("a",), ("s/t",), ("h",), ("r",), 0, 0)])
def test_given_a_policy_then_its_message_says_the_same_also_of_zeros(policy: TaskPolicy) -> None:
    assert policy_from_proto(policy_to_proto(policy)) == policy


def test_given_no_policy_then_the_defaults_hold() -> None:
    assert policy_from_proto(task_pb2.TaskPolicy()) == TaskPolicy()
