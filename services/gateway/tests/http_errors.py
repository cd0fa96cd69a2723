"""What an error over HTTP says, held to the form that all have."""

from __future__ import annotations

import httpx


def error_of(response: httpx.Response) -> dict:
    """The problem that a response tells, whose shape is always the same."""
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "reason", "violations"}
    assert body["status"] == response.status_code
    return body


def fields_of(response: httpx.Response) -> list[str]:
    return [violation["field"] for violation in error_of(response)["violations"]]
