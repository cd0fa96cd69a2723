"""Owns the choice of TCP ports on the loopback interface.

Free ports are taken from below the range that systems hand out to outgoing connections: a client that keeps
reconnecting to a restarting service could otherwise be given the service's own port, and keep it from coming back.
"""

from __future__ import annotations

import random
import socket

from waybill.errors import InvalidArgument, Unavailable

LOOPBACK = "127.0.0.1"
_FIRST_PORT = 17_000
_LAST_PORT = 31_999
_TRIES = 1_000


def is_free(port: int) -> bool:
    """Whether a server could bind the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Distinct ports that nothing listens on. Raises `Unavailable` if the machine has too few."""
    ports: list[int] = []
    for _ in range(_TRIES):
        if len(ports) == count:
            return ports
        port = random.randint(_FIRST_PORT, _LAST_PORT)
        if port not in ports and is_free(port):
            ports.append(port)
    raise Unavailable(
        f"no {count} free ports between {_FIRST_PORT} and {_LAST_PORT}: stop what occupies them", reason="NO_FREE_PORT"
    )


def require_free(port: int, option: str) -> None:
    """Raise `InvalidArgument`, naming the option that chooses another port, if the port is taken."""
    if not is_free(port):
        raise InvalidArgument.of_field(option, f"port {port} is in use: stop what listens there, or choose another")
