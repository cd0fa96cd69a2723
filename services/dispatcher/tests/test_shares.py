"""The shares file: read, refused with what to do, written to the ledger, and followed while it changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import ValidationError
from waybill_dispatcher.settings import DispatcherSettings
from waybill_dispatcher.shares import SharesFile, read_shares
from waybill_dispatcher.ticking import Ticking

from waybill.cancellation import cancel_all
from waybill.ledger import keys
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import BatchTerms

GOOD = """
[agents.embed]
min_batch = 4
max_batch = 32
target_ms = 100
[agents.ocr]
batch = 2
[tenants.acme]
weight = 3
[tenants."beta.org"]
weight = 0.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shares.toml"


async def stored(ledger: Ledger, kind: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await ledger._store.command("HGETALL", keys.key("0", kind))
    return found


def test_given_a_good_file_then_it_is_read(file: Path) -> None:
    file.write_text(GOOD)
    shares = read_shares(file)
    assert {name: share.terms() for name, share in shares.agents.items()} == {
        "embed": BatchTerms(4, 32, 100),
        "ocr": BatchTerms(2, 2),
    }
    assert {name: share.weight for name, share in shares.tenants.items()} == {"acme": 3, "beta.org": 0.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[agents.embed]\nbatch = 0", "agents.embed.batch: .*greater than or equal to 1"),
        ("[agents.embed]\nmax_batch = 2000", "agents.embed.max_batch: .*less than or equal to 1000"),
        ("[agents.embed]\nbatch = 2\nmax_batch = 3", "agents.embed: batch fixes the number of steps"),
        (
            "[agents.embed]\nmin_batch = 5\nmax_batch = 3",
            "agents.embed: min_batch is 5, and must not be over",
        ),
        ("[agents.embed]\nsize = 3", "agents.embed.size: .*not permitted"),
        ("[agents.Embed]\nbatch = 3", "agents.Embed: .*pattern"),
        ("[tenants.acme]\nweight = 0", "tenants.acme.weight: .*greater than or equal to 0.01"),
        ("[tenants.acme]\nweight = nan", "tenants.acme.weight: .*finite"),
        ("[tenants.acme]", "tenants.acme.weight: .*required"),
        ("tenants", "is not TOML"),
    ],
)
def test_given_a_bad_file_then_the_start_is_refused_with_field_and_limit(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(ValidationError, match=told):
        DispatcherSettings(shares_file=file)


def test_given_no_file_of_that_name_then_the_start_is_refused(file: Path) -> None:
    with pytest.raises(ValidationError, match="cannot be read: No such file"):
        DispatcherSettings(shares_file=file)


def test_given_an_empty_setting_then_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_DISPATCHER_SHARES_FILE", "")
    assert DispatcherSettings().shares_file is None


async def test_given_a_file_that_changes_then_the_ledger_has_what_it_says_last(ledger: Ledger, file: Path) -> None:
    file.write_text(GOOD)
    shares = SharesFile(ledger, file)
    await shares.write()
    assert await stored(ledger, "pace") == {b"embed:set": b"4 32 100", b"ocr:set": b"2 2 0"}
    file.write_text("[tenants.acme]\nweight = 7.5\n")
    await shares.follow()
    assert await stored(ledger, "pace") == {}
    assert await stored(ledger, "weights") == {b"acme": b"7.500000"}


@pytest.mark.parametrize("text", ["[tenants.acme]\nweight = -1\n", None])
async def test_given_a_file_that_goes_bad_then_what_it_said_before_stays(
    ledger: Ledger, file: Path, text: str | None
) -> None:
    file.write_text("[tenants.acme]\nweight = 3\n")
    shares = SharesFile(ledger, file)
    await shares.write()
    file.unlink() if text is None else file.write_text(text)
    await shares.follow()
    assert await stored(ledger, "weights") == {b"acme": b"3.000000"}


async def test_given_a_running_dispatcher_when_the_file_changes_then_it_is_written(
    embedded_url: str, file: Path
) -> None:
    ledger = Ledger(embedded_url)
    file.write_text("[tenants.acme]\nweight = 3\n")
    ticking = asyncio.create_task(Ticking(ledger, {"max_deaths": 3}, SharesFile(ledger, file)).run())
    try:
        async with asyncio.timeout(30):
            for weight in (3, 4):
                file.write_text(f"[tenants.acme]\nweight = {weight}\n")
                while await stored(ledger, "weights") != {b"acme": f"{weight}.000000".encode()}:
                    await asyncio.sleep(0.05)
    finally:
        await cancel_all([ticking])
        await ledger.close()
