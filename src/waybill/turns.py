"""Turns by key: of those that want the same key, in whatever threads and tasks, one goes at a time, in order."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future


class Turns:
    """Whoever takes a turn leaves it, or gives it up while still waiting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Future[None]]] = {}

    def take(self, key: str) -> Future[None]:
        """Done once it is the caller's turn."""
        turn: Future[None] = Future()
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is None:
                self._waiting[key] = deque()
                turn.set_result(None)
            else:
                waiting.append(turn)
        return turn

    def leave(self, key: str) -> None:
        """Let the next one go."""
        with self._lock:
            waiting = self._waiting[key]
            while waiting:
                turn = waiting.popleft()
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            del self._waiting[key]

    def give_up(self, key: str, turn: Future[None]) -> None:
        """Wait no more. It may have become the caller's turn in this very moment."""
        if not turn.cancel():
            self.leave(key)
