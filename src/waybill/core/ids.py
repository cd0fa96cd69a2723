"""Ids that nobody can guess, from the randomness of the operating system, which is asked for many at a time."""

from __future__ import annotations

import os

_AT_A_TIME = 256
_BYTES = 16
_DIGITS = 2 * _BYTES
_ready: list[str] = []
# A copy of the process must not give out what its parent does.
os.register_at_fork(after_in_child=_ready.clear)


def random_id() -> str:
    """A new id of 32 hexadecimal digits: 128 random bits. May be called from any thread."""
    try:
        return _ready.pop()  # one step, so that no two threads get the same
    except IndexError:
        drawn = os.urandom(_AT_A_TIME * _BYTES).hex()
        ids = [drawn[start : start + _DIGITS] for start in range(0, len(drawn), _DIGITS)]
        _ready.extend(ids[1:])
        return ids[0]
