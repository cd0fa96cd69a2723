"""Generated gRPC stubs, nothing else. Made by `make generate`."""
