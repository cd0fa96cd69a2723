"""What a store keeps that no task owns."""

from __future__ import annotations

PERMANENT = {
    "agents",
    "pace",
    "weights",
    "queued",
    "queues",
    "pulse",
    "policy",
    "queue",
    "budget",
    "limits",
    "limit",
    "feeds",
}
"""Kinds of key that outlive all tasks; queues are empty then."""
