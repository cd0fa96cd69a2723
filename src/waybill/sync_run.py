"""Owns a task that is submitted and followed to its end in one call, for code that waits."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from waybill.blocking import Background
from waybill.core.task import Event
from waybill.progress import Progress
from waybill.resources import Task
from waybill.run import Run


class SyncRun:
    """A task of one's own, from its submission to its end: an iterator of its events, each once, in order.

    Use it as `with client.run(goal=...) as run`, which submits the task, or iterate over it, or wait for its
    `result()`. A stream that breaks goes on where it was, under the same request id. Leaving a run stops following the
    task, not the task.
    """

    def __init__(self, background: Background, run: Run) -> None:
        self._background = background
        self._run = run

    @property
    def task(self) -> Task:
        """The task: as it was accepted, and once all events were seen, as it ended. Raises `FailedPrecondition` before
        it is accepted.
        """
        return self._run.task

    @property
    def request_id(self) -> str:
        """Under which the task is submitted: whoever submits the same under it follows the same task."""
        return self._run.request_id

    def __enter__(self) -> SyncRun:
        self._background.run(self._run.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop following the task, which goes on."""
        self._background.leave(self._run.close)

    def __iter__(self) -> SyncRun:
        return self

    def __next__(self) -> Event:
        """The next event. Raises as `SyncClient.submit`, `Unavailable` once the patience is over without contact."""
        event = self._background.run(anext(self._run, None))
        if event is None:
            raise StopIteration
        return event

    def progress(self) -> Generator[Progress, None, None]:
        """How far the task is: now, and again with each event that is taken from the run, until the task has ended."""
        return self._background.iterate(self._run.progress())

    def result(self) -> Any:
        """See the events through to the end, and return the task's output, decoded.

        Raises `FailedPrecondition` with the failure's reason and message if it failed or was cancelled.
        """
        return self._background.run(self._run.result())
