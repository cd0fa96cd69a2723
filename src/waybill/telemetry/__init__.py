"""Metrics, traces and logs: every instrument of the project is declared here."""
