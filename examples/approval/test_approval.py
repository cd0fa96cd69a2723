"""Yes, no, and no answer: each way the plan ends as it should, and a mail goes out once or not at all."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import approval
import pytest
import yaml

from waybill import Client
from waybill.core.task import EventType
from waybill.errors import InvalidArgument
from waybill.testing import Crashed, MemoryEffects, run_agent

HERE = Path(__file__).parent
PLAN = yaml.safe_load((HERE / "plan.yaml").read_text())


def sent(folder: Path, customer: str) -> int:
    """How many mails went out to a customer."""
    outbox = folder / "outbox.jsonl"
    return sum(json.loads(line)["to"] == customer for line in outbox.read_text().splitlines()) if outbox.exists() else 0


async def asked(client: Client, customer: str) -> str:
    """The name of a task that waits for its answer."""
    task = await client.submit(plan=PLAN, input={"customer": customer, "cents": 480_000})
    async for event in client.watch(task):
        if event.type is EventType.STEP_WAITING:
            return task.name
    raise AssertionError("nothing was asked")


async def test_given_a_yes_then_the_mail_goes_out_once(suite: Any) -> None:
    async with suite.async_client() as client:
        task = await asked(client, "Ada")
        await client.answer(task, "review", {"send": True, "note": "as discussed"})
        output = await client.result(task)
    assert output == {"send": {"sent_to": "Ada", "note": "as discussed"}, "file": None}
    assert sent(suite.folder, "Ada") == 1


async def test_given_a_no_then_it_is_filed(suite: Any) -> None:
    async with suite.async_client() as client:
        task = await asked(client, "Bob")
        await client.answer(task, "review", {"send": False, "note": "too dear"})
        output = await client.result(task)
    assert output == {"send": None, "file": {"filed_for": "Bob", "note": "too dear"}}
    assert sent(suite.folder, "Bob") == 0


async def test_given_no_answer_then_the_default_files_it(suite: Any) -> None:
    plan = copy.deepcopy(PLAN)
    plan["steps"][1]["question"]["timeout_ms"] = 200
    async with suite.async_client() as client:
        task = await client.submit(plan=plan, input={"customer": "Cleo", "cents": 480_000})
        output = await client.result(task)
    assert output == {"send": None, "file": {"filed_for": "Cleo", "note": "nobody answered in time"}}
    assert sent(suite.folder, "Cleo") == 0


async def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays(suite: Any) -> None:
    async with suite.async_client() as client:
        task = await asked(client, "Dora")
        with pytest.raises(InvalidArgument):
            await client.answer(task, "review", {"send": "perhaps"})
        await client.answer(task, "review", {"send": False, "note": ""})
        await client.result(task)


async def test_given_a_crash_after_the_mail_went_out_then_it_does_not_go_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approval, "OUTBOX", tmp_path / "outbox.jsonl")
    effects = MemoryEffects()
    effects.crash("send", "after")
    given = {"offer": {"customer": "Eve", "text": "Dear Eve"}, "note": ""}
    with pytest.raises(Crashed):
        await run_agent(approval.send_offer, given, effects=effects)
    again = await run_agent(approval.send_offer, given, effects=effects)
    assert again.output == {"sent_to": "Eve", "note": ""}
    assert sent(tmp_path, "Eve") == 1
