"""However many regions the file has, each is summed by a step of its own, and all are ranked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from waybill.core.task import Document
from waybill.errors import FailedPrecondition

HERE = Path(__file__).parent
PLAN = yaml.safe_load((HERE / "plan.yaml").read_text())


def orders(text: bytes) -> Document:
    return Document("orders.csv", "text/csv", text)


async def test_the_regions_of_the_file_are_summed_and_ranked(suite: Any) -> None:
    document = orders((HERE / "orders.csv").read_bytes())
    async with suite.async_client() as client:
        task = await client.submit(plan=PLAN, input={"file": document.name}, documents=[document])
        output = await client.result(task)
        steps = [step.id for step in await client.steps(task)]
    assert steps == ["split", "sum-0", "sum-1", "sum-2", "sum-3", "rank"]
    assert [line.split()[1] for line in output["report"].splitlines()[2:6]] == ["north", "west", "south", "east"]
    assert output["total_cents"] == 82200 + 55900 + 51600 + 37250


async def test_a_file_of_a_thousand_regions_becomes_a_thousand_steps(suite: Any) -> None:
    lines = ["region,product,quantity,cents", *(f"place {number},rope,1,{number + 1}" for number in range(998))]
    async with suite.async_client() as client:
        task = await client.submit(
            plan=PLAN, input={"file": "orders.csv"}, documents=[orders("\n".join(lines).encode())]
        )
        output = await client.result(task)
    assert output["total_cents"] == sum(range(1, 999))
    assert output["report"].splitlines()[2].startswith("| place 997 |")


async def test_a_file_that_was_not_sent_fails_for_good_and_is_named(suite: Any) -> None:
    async with suite.async_client() as client:
        task = await client.submit(plan=PLAN, input={"file": "other.csv"})
        with pytest.raises(FailedPrecondition, match=r"no document other\.csv"):
            await client.result(task)
        (step,) = await client.steps(task)
    assert step.attempt == 1
