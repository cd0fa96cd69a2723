"""Every instrument of the project: metrics, traces, logs."""
