"""Owns turning what was typed into a submission: plan files, documents, labels, sources."""

from __future__ import annotations

import mimetypes
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from waybill.core.task import Document, Priority
from waybill.errors import InvalidArgument
from waybill.resources import Submission

_TEXT = "text/plain"
_MEDIA_TYPES = {".md": "text/markdown", ".markdown": "text/markdown", ".txt": _TEXT, ".rst": _TEXT}


@dataclass(frozen=True)
class Typed:
    """The arguments of `waybill submit`, as typed."""

    goal: str = ""
    plan: Path | None = None
    input: str = ""
    sources: Sequence[str] = ()
    documents: Sequence[Path] = ()
    labels: Sequence[str] = ()
    priority: Priority = Priority.NORMAL
    request_id: str = ""


def submission(typed: Typed) -> Submission:
    """What to submit. Raises `InvalidArgument` naming the option that is wrong."""
    if bool(typed.goal) == (typed.plan is not None):
        raise InvalidArgument.of_field("--goal, --plan", "give exactly one of them")
    return Submission(
        goal=typed.goal,
        plan=_plan(typed.plan) if typed.plan is not None else None,
        input=_json(typed.input.encode(), "--input") if typed.input else None,
        documents=[_document(path) for path in typed.documents],
        paths=[Path(source).expanduser().absolute() for source in typed.sources],
        priority=typed.priority,
        labels=_labels(typed.labels),
        request_id=typed.request_id or None,
    )


def split_sources(values: Sequence[str]) -> list[str]:
    """The sources of one or more `--sources a,b` options."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _plan(path: Path) -> Mapping[str, Any]:
    text = sys.stdin.buffer.read() if str(path) == "-" else _read(path, "--plan")
    plan = _json(text, "--plan")
    if not isinstance(plan, dict):
        raise InvalidArgument.of_field("--plan", f'{path} is not a plan: write {{"steps": [...]}}')
    inner = plan.get("plan")
    return inner if isinstance(inner, dict) and set(plan) == {"plan"} else plan


def _json(text: bytes, option: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument.of_field(option, f"is not JSON: {error}") from error


def _document(path: Path) -> Document:
    suffix = path.suffix.lower()
    media_type = _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(path.name)[0] or _TEXT
    return Document(name=str(path), media_type=media_type, data=_read(path, "--document"))


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgument.of_field(option, f"{path} cannot be read: {error.strerror}") from error


def _labels(typed: Sequence[str]) -> Mapping[str, str]:
    labels: dict[str, str] = {}
    for label in typed:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise InvalidArgument.of_field("--label", f"{label!r} is not of the form key=value")
        labels[key] = value
    return labels
