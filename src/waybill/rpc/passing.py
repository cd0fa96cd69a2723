"""Streams whose messages are handed on as they come: bytes, which nobody on the way reads.

The messages of the stream that is read and of the one that is written must be the same on the wire. A servicer answers
with such bytes as with a message.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass


def bytes_stream(channel: grpc.aio.Channel, service: ServiceDescriptor, method: str) -> Any:
    """The server-streaming method of a service, to be called as that of a stub; its responses are bytes.

    Raises KeyError for a method that the service has not.
    """
    found: MethodDescriptor = service.methods_by_name[method]
    return channel.unary_stream(
        f"/{service.full_name}/{method}",
        request_serializer=GetMessageClass(found.input_type).SerializeToString,
        response_deserializer=None,
    )
