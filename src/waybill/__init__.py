"""Waybill: multi-step agent tasks on Redis Streams, with nothing lost."""

from waybill.agent import Context, agent

__all__ = ["Context", "agent"]
