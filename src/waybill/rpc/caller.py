"""Who calls: the tenant of a call, read from metadata and handed on to the next service."""

from __future__ import annotations

from collections.abc import Iterable

from waybill.core.limits import TENANT_NAME
from waybill.errors import InvalidArgument
from waybill.telemetry.tracing import TRACEPARENT, current_traceparent

TENANT_KEY = "x-waybill-tenant"
DEFAULT_TENANT = "default"

Metadata = tuple[tuple[str, str], ...]


def tenant_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The tenant that a call's metadata names, "default" if it names none.

    Raises `InvalidArgument` for a malformed name, or for more than one.
    """
    names = {value for key, value in metadata or () if key == TENANT_KEY}
    if not names:
        return DEFAULT_TENANT
    if len(names) > 1:
        raise InvalidArgument.of_field(TENANT_KEY, "is given more than once; send one value")
    return checked_tenant(names.pop())


def checked_tenant(name: str | bytes) -> str:
    """The name itself if it is one. Raises `InvalidArgument` otherwise."""
    if not isinstance(name, str) or not TENANT_NAME.fullmatch(name):
        raise InvalidArgument.of_field(
            TENANT_KEY, "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
        )
    return name


def metadata_for(tenant: str) -> Metadata:
    """Metadata of an outgoing call: the tenant, and the current trace context if there is one."""
    return ((TENANT_KEY, tenant), *trace_metadata())


def trace_metadata() -> Metadata:
    """Metadata of an outgoing call that is made for no tenant: the current trace context if there is one."""
    traceparent = current_traceparent()
    return ((TRACEPARENT, traceparent),) if traceparent else ()
