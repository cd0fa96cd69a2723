"""The worker's settings as an operator writes them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from waybill_worker.settings import WorkerSettings


def test_given_no_environment_when_read_then_the_defaults_are_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYBILL_REDIS_URL", raising=False)
    settings = WorkerSettings()

    assert (settings.host, settings.grpc_port, settings.metrics_port, settings.slots) == ("127.0.0.1", 7403, 7493, 16)
    assert settings.agents == ()
    assert "." not in settings.name


def test_given_modules_with_spaces_when_read_then_they_are_split_and_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_AGENTS", "one.agents, two ,,")

    assert WorkerSettings().agents == ("one.agents", "two")


def test_given_a_host_name_with_dots_when_it_names_the_worker_then_the_dots_go() -> None:
    assert WorkerSettings(name="host.example.net").name == "host-example-net"


@pytest.mark.parametrize("slots", ["0", "-1", "1025", "many"])
def test_given_slots_out_of_range_when_read_then_they_are_refused(slots: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_WORKER_SLOTS", slots)

    with pytest.raises(ValidationError, match="slots"):
        WorkerSettings()


@pytest.mark.parametrize(
    ("host", "advertised", "expected"),
    [
        ("127.0.0.1", "", "127.0.0.1:7000"),
        ("0.0.0.0", "10.0.0.7", "10.0.0.7:7000"),
        ("::1", "", "[::1]:7000"),
    ],
)
def test_given_a_bound_port_when_announced_then_others_can_reach_it(host: str, advertised: str, expected: str) -> None:
    assert WorkerSettings(host=host, advertised_host=advertised).address(7000) == expected


def test_given_a_wildcard_host_when_announced_then_the_machine_is_named() -> None:
    assert not WorkerSettings(host="0.0.0.0").address(7000).startswith("0.0.0.0")
