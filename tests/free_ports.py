"""TCP ports for the servers of tests, which no two processes of one run are given.

They lie below those that the system takes for connections by itself (Linux: from 32768): one of those may be free when
it is looked at, and the near end of anybody's connection before a server has it.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

HOST = "127.0.0.1"
FIRST_PORT, END_PORT = 10_000, 32_000
SHARES = 8
"""As many processes of a run have ports of their own."""


def _share() -> range:
    """The ports of this process, which pytest-xdist names gw0, gw1, ..."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % SHARES
    size = (END_PORT - FIRST_PORT) // SHARES
    return range(FIRST_PORT + number * size, FIRST_PORT + (number + 1) * size)


def _ports() -> Iterator[int]:
    """All ports of this process, again and again; runs beside this one begin elsewhere."""
    share = _share()
    at = random.SystemRandom().randrange(len(share))
    while True:
        yield share[at % len(share)]
        at += 1


_next_ports = _ports()


def free_port() -> int:
    """A TCP port that nobody uses now. Raises OSError if there is none."""
    for port in (next(_next_ports) for _ in _share()):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port of {_share()} is free")
