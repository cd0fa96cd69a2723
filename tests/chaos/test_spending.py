"""The checks of money: each is shown accounts that are wrong, and must say so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from model_answers import Billed

from chaos.chaos_histories import history, task
from chaos.checks import Kind
from chaos.scenarios import Scenario
from chaos.spending import check_bill, check_budgets, check_payments, cost_of
from waybill.core.task import Usage
from waybill.ledger.call_records import CallRecord, CallState

BILL = [
    Billed("t/1/1/1", "chaos-small", 10, 5),
    Billed("t/1/2/1", "chaos-large", 10, 5),
    Billed("t/0/0/1", "chaos-small", 7, 0),
]


def record(step: int, attempt: int, cost: int, state: CallState = CallState.SETTLED, number: int = 1) -> CallRecord:
    return CallRecord(step, attempt, number, state, "talker", "m", "chaos", Usage(cost_microusd=cost), 1, 2)


GOOD = [record(1, 1, 15), record(1, 2, 30), record(0, 0, 7)]


def kinds(found: Any) -> list[Kind]:
    return [violation.kind for violation in found]


def test_accounts_that_match_the_bill_are_good() -> None:
    assert list(check_bill(BILL, {"tasks/t": GOOD})) == []
    estimated = [record(1, 1, 400, CallState.ESTIMATED), *GOOD[1:]]
    assert list(check_bill(BILL, {"tasks/t": estimated})) == []


@pytest.mark.parametrize(
    "records",
    [
        GOOD[1:],
        [record(1, 1, 14), *GOOD[1:]],
        [record(1, 1, 16), *GOOD[1:]],
        [record(1, 1, 14, CallState.ESTIMATED), *GOOD[1:]],
        [record(1, 1, 15, CallState.OPEN), *GOOD[1:]],
        [*GOOD, record(1, 3, 1)],
        [*GOOD, record(0, 0, 1, number=2)],
    ],
)
def test_accounts_that_do_not_match_the_bill_are_told(records: list[CallRecord]) -> None:
    assert kinds(check_bill(BILL, {"tasks/t": records})) == [Kind.MONEY]


def test_more_than_the_budget_is_told_by_whom_it_was_counted() -> None:
    bill = [Billed("0-abc/1/1/1", "chaos-large", 10, 5)]
    assert cost_of(bill[0]) == 30
    enough, little = Scenario("talking", budget_microusd=1_000_000), Scenario("talking", budget_microusd=29)
    assert list(check_budgets([history(scenario=enough), history()], bill)) == []
    spent = history(scenario=little, task=task(usage=Usage(cost_microusd=31)))
    assert [violation.text.split()[0] for violation in check_budgets([spent], bill)] == ["was", "counts"]


def test_a_payment_that_was_made_twice_or_never_is_told() -> None:
    paid = history(scenario=Scenario("paying", amount=5))
    assert kinds(check_payments([paid], Counter({5: 1}))) == []
    assert kinds(check_payments([paid], Counter({5: 2}))) == [Kind.DUPLICATE_EFFECT]
    assert kinds(check_payments([paid], Counter())) == [Kind.OUTCOME]
