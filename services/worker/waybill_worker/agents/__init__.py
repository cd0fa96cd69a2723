"""The agents that ship with Waybill."""
