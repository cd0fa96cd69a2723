"""The tenant of a call is read from its metadata and handed on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.core.limits import TENANT_NAME
from waybill.errors import InvalidArgument
from waybill.rpc.caller import DEFAULT_TENANT, TENANT_KEY, metadata_for, tenant_of


@given(st.from_regex(TENANT_NAME, fullmatch=True))
def test_what_is_handed_on_is_what_is_read(tenant):
    assert tenant_of(metadata_for(tenant)) == tenant


@pytest.mark.parametrize("metadata", [None, (), (("other", "x"),)])
def test_without_a_tenant_it_is_the_default_one(metadata):
    assert tenant_of(metadata) == DEFAULT_TENANT


@given(st.text().filter(lambda text: not TENANT_NAME.fullmatch(text)) | st.binary())
def test_a_malformed_tenant_is_refused(tenant):
    with pytest.raises(InvalidArgument):
        tenant_of(((TENANT_KEY, tenant),))


def test_two_tenants_are_refused():
    with pytest.raises(InvalidArgument):
        tenant_of(((TENANT_KEY, "a"), (TENANT_KEY, "b")))
