"""Ends a process whose event loop no longer turns, so that whoever supervises it starts another one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
import traceback

from waybill.telemetry.logs import get_logger

STUCK_EXIT_CODE = 70
LONGEST_INTERVAL_SECONDS = 2.0
_LAST_WORDS_SECONDS = 2.0

_log = get_logger(__name__)


class Watchdog:
    """Watches the loop that it is made in, from a thread of its own, which does not count the time that the whole
    process stood still.

    Code that holds the interpreter keeps that thread from running too; then a timer on the processor time that the
    process uses ends it, by SIGVTALRM.
    """

    def __init__(self, stuck_seconds: float) -> None:
        self._stuck_seconds = stuck_seconds
        self._interval_seconds = min(LONGEST_INTERVAL_SECONDS, stuck_seconds / 10)
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._turned = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. Calls after the first change nothing."""
        self._stopping.set()

    def _watch(self) -> None:
        try:
            silent_seconds = self._until_stuck()
            if silent_seconds:
                self._end(silent_seconds)
        except RuntimeError:
            return  # the loop is closed
        finally:
            _limit_processor_seconds(0.0)

    def _until_stuck(self) -> float:
        """Return how long the loop has not turned, once that is too long; 0 when told to stop."""
        silent_seconds = 0.0
        self._ask()
        while silent_seconds <= self._stuck_seconds:
            asleep_since = time.monotonic()
            if self._stopping.wait(self._interval_seconds):
                return 0.0
            if self._turned.is_set():
                silent_seconds = 0.0
                self._ask()
            else:
                # A process that was stopped and goes on sees a long sleep, in which the loop could not turn either.
                silent_seconds += min(time.monotonic() - asleep_since, 2 * self._interval_seconds)
        return silent_seconds

    def _ask(self) -> None:
        self._turned.clear()
        self._loop.call_soon_threadsafe(self._turned.set)
        _limit_processor_seconds(self._stuck_seconds)

    def _end(self, silent_seconds: float) -> None:
        # What holds the loop may hold the log as well.
        threading.Timer(_LAST_WORDS_SECONDS, os._exit, (STUCK_EXIT_CODE,)).start()
        frame = sys._current_frames().get(self._watched)
        stack = "".join(traceback.format_stack(frame)) if frame else "unknown"
        _log.error("the event loop is stuck; ending the process", silent_seconds=round(silent_seconds, 1), stack=stack)
        os._exit(STUCK_EXIT_CODE)


def _limit_processor_seconds(seconds: float) -> None:
    """End the process once it has used so much processor time without being told again; 0 for no limit."""
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
