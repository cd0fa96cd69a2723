"""Owns where commands look for a gateway, and for whom, unless told otherwise."""

GATEWAY = "127.0.0.1:7400"
TENANT = "default"
