"""The peers' store writes to disk as it is told, and is gone afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from peer_store import store_server


@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
def test_a_store_keeps_its_log_as_it_is_told_and_leaves_nothing(appendfsync: str) -> None:
    with store_server(appendfsync) as url, redis.Redis.from_url(url, protocol=2) as store:
        told = store.config_get("append*", "dir", "bind")
        store.set("key", "value")
    assert (told["appendonly"], told["appendfsync"], told["bind"]) == ("yes", appendfsync, "127.0.0.1")
    assert not Path(told["dir"]).exists()
    with redis.Redis.from_url(url, protocol=2) as gone, pytest.raises(redis.ConnectionError):
        gone.ping()
