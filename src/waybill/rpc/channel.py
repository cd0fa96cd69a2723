"""Channels: how one service, or a client, reaches another."""

from __future__ import annotations

import json

import grpc

from waybill.core.limits import MAX_MESSAGE_BYTES
from waybill.rpc.client_spans import interceptors

MAX_METADATA_BYTES = 64 * 1024

_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 1),
    # A call over this size is sent once only, so the largest one must fit.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def connect(address: str) -> grpc.aio.Channel:
    """A channel to `address` (any gRPC target; several hosts behind one name are used in turn).

    Calls that fail with UNAVAILABLE are tried up to five times within their deadline: every RPC of the project is
    idempotent. A restarted server is found again within about a second. Who calls hands the trace context on, by
    `caller.metadata_for`.
    """
    return grpc.aio.insecure_channel(address, options=_OPTIONS, interceptors=interceptors())
