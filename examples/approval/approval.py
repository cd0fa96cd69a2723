"""Three agents around a person's decision: one drafts an offer, one sends it, one files it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import BaseModel, PositiveInt

from waybill import NOT_DONE, Context, agent

OUTBOX = Path(os.environ.get("APPROVAL_OUTBOX", "outbox.jsonl"))
"""Stands for a mail server: what is in it has gone out."""


class Offer(BaseModel):
    """What a customer would get."""

    customer: str
    text: str


@agent
async def draft_offer(customer: str, cents: PositiveInt) -> Offer:
    """Draft an offer."""
    return Offer(customer=customer, text=f"Dear {customer}, we offer you a boat for {cents / 100:.2f}.")


def look_up(ctx: Context, key: str) -> object:
    """Tell whether the mail of this step has gone out, when an attempt died before it could say so."""
    mails = map(json.loads, OUTBOX.read_text().splitlines()) if OUTBOX.exists() else ()
    return next((mail for mail in mails if mail["key"] == ctx.idempotency_key), NOT_DONE)


@agent(reconcile=look_up)
async def send_offer(ctx: Context, offer: Offer, note: str) -> dict[str, str]:
    """Send an offer, once, however often the step is tried."""

    def send() -> dict[str, str]:
        mail = {"key": ctx.idempotency_key, "to": offer.customer, "text": offer.text}
        with OUTBOX.open("a") as outbox:
            outbox.write(json.dumps(mail) + "\n")
        return mail

    await ctx.once("send", send)
    return {"sent_to": offer.customer, "note": note}


@agent
async def file_offer(offer: Offer, note: str) -> dict[str, str]:
    """File an offer that does not go out, with the reason."""
    return {"filed_for": offer.customer, "note": note}
