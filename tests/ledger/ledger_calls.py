"""Model calls for the ledger's tests."""

from __future__ import annotations

from waybill.core.task import Usage
from waybill.ledger.call_records import CallDecision, CallOpening, CallVerdict, Rates
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import StepRef

GO = CallDecision(CallVerdict.GO)
WORST = Usage(100, 50, 1_000)
NO_RATES = Rates()
USED = Usage(90, 20, 640, 30, 5)


def opening(number: int = 1, worst: Usage = WORST, nonce: str = "", rates: Rates = NO_RATES) -> CallOpening:
    return CallOpening(number, nonce or f"nonce-{number}", "gpt-x", "default", worst, rates)


async def begin(
    ledger: Ledger, worker: str, ref: StepRef, number: int = 1, worst: Usage = WORST, rates: Rates = NO_RATES
) -> CallDecision:
    return await ledger.begin_call(worker, ref, opening(number, worst, rates=rates))


def estimated(worst: Usage) -> Usage:
    """What a call counts for whose end nobody saw."""
    return Usage(worst.input_tokens, worst.output_tokens, worst.cost_microusd, estimated_microusd=worst.cost_microusd)
