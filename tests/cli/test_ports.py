"""Ports are chosen among those that nothing else can be given meanwhile."""

from __future__ import annotations

import socket

import pytest

from waybill.cli.ports import free_ports, is_free, require_free
from waybill.errors import InvalidArgument


def test_free_ports_are_distinct_and_below_the_range_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(1024 < port < 32_768 for port in ports)


def test_given_a_listener_then_its_port_is_refused_by_the_option_that_chose_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(InvalidArgument, match=rf"--grpc-port: port {port} is in use"):
            require_free(port, "--grpc-port")
    require_free(port, "--grpc-port")
