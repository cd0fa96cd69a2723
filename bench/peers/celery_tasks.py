"""The tasks of Celery's run. Its workers and its client import this; `PEER_STORE` is the URL of their Redis."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_ready
from peer_processes import announce
from peer_run import Answer, answer, items_of

app = Celery("bench", broker=os.environ["PEER_STORE"], backend=os.environ["PEER_STORE"])
app.conf.update(
    result_expires=600,
    worker_prefetch_multiplier=64,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
)


@worker_ready.connect
def _ready(**_told: object) -> None:
    announce()


@app.task
def task() -> Answer:
    """Do nothing, and answer."""
    return answer()


@app.task
def link(given: Answer) -> Answer:
    """Add 1 to what the chain passes on."""
    return answer(items_of(given) + 1)


@app.task
def top(given: int) -> Answer:
    """Answer what parts start with."""
    return answer(given)


@app.task
def join(parts: list[Answer]) -> Answer:
    """Sum up the parts of a chord."""
    return answer(sum(items_of(part) for part in parts))
