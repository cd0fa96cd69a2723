"""Settings come from the environment, and are refused where they make no sense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from waybill.settings import RedisSettings, ServiceSettings


class Both(ServiceSettings, RedisSettings):
    model_config = SettingsConfigDict(env_prefix="WAYBILL_TRIAL_")


def test_the_store_has_one_name_for_every_service_and_the_rest_a_prefix(monkeypatch):
    monkeypatch.setenv("WAYBILL_REDIS_URL", "redis://elsewhere:1/0")
    monkeypatch.setenv("WAYBILL_TRIAL_GRPC_PORT", "7500")
    settings = Both()
    assert (settings.redis_url, settings.grpc_port) == ("redis://elsewhere:1/0", 7500)


def test_the_default_is_safe(monkeypatch):
    monkeypatch.delenv("WAYBILL_REDIS_URL", raising=False)
    assert Both().host == "127.0.0.1"


@pytest.mark.parametrize(
    "values", [{"grpc_port": -1}, {"grpc_port": 70_000}, {"log_level": "LOUD"}, {"shutdown_grace_seconds": -1}]
)
def test_what_makes_no_sense_is_refused(values):
    with pytest.raises(ValidationError):
        Both(**values)
