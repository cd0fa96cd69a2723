"""The pure domain: plans, references, events, retry. No I/O."""
