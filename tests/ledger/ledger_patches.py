"""Settlements that bring patches, for the ledger's tests."""

from __future__ import annotations

from ledger_hand import succeeded
from msgspec.structs import replace

from waybill.core.patch import LinkedPatch
from waybill.ledger.records import Grant, Settlement


def with_patch(grant: Grant, added: LinkedPatch, output: bytes = b"1") -> Settlement:
    return replace(succeeded(grant, output), patch=added)
