"""gRPC: servers, channels, statuses, and the conversion between messages and the domain."""
