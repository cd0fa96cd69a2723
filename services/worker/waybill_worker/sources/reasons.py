"""The few words for why sources do not count, for those who watch a worker: a refusal's text may hold anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from waybill.telemetry import metrics
from waybill_worker.sources import files, formats, html, ignoring, notebook, parser, parsing, pdf, roots, walk

_OTHER = "other"
_WORDS = {
    roots.NOT_ALLOWED: "not_allowed",
    roots.LEADS_OUT: "not_allowed",
    roots.MISSING: "missing",
    walk.NO_FILE: "missing",
    walk.HIDDEN: "hidden",
    ignoring.IGNORED: "ignored",
    ignoring.TOO_SLOW_RULES: "too_slow",
    walk.TOO_MANY_FILES: "too_many",
    walk.TOO_MANY_BYTES: "too_many",
    walk.TOO_MANY_ENTRIES: "too_many",
    walk.TOO_DEEP: "too_many",
    files.TOO_LARGE: "too_large",
    files.NOT_REGULAR: "not_regular",
    formats.EMPTY: "empty",
    formats.BINARY: "not_text",
    formats.NOT_UTF8: "not_text",
    html.NO_TEXT: "empty",
    html.TOO_NESTED: "damaged",
    pdf.NO_TEXT: "no_text_in_pages",
    pdf.DAMAGED: "damaged",
    pdf.ENCRYPTED: "encrypted",
    notebook.NO_NOTEBOOK: "damaged",
    parsing.UNREADABLE: "damaged",
    parsing.TOO_MUCH_MEMORY: "too_much_memory",
    parser.BROKE_OFF: "too_much_memory",
    parser.TOO_SLOW: "too_slow",
    parser.TOO_MANY_GIVEN_UP: "too_slow",
}
_BEGINNINGS = {"was cut": "cut", "has no text on": "no_text_in_pages", "could not be read on": "damaged"}


def word_of(reason: str) -> str:
    """The word for a reason."""
    if reason in _WORDS:
        return _WORDS[reason]
    return next((word for beginning, word in _BEGINNINGS.items() if reason.startswith(beginning)), _OTHER)


def tell(read: int, reused: int, refused: Iterable[tuple[str, str]]) -> None:
    """Count one reading: how many sources were read, how many of them were not parsed again, and what was left out."""
    metrics.SOURCES_READ.labels("parsed").inc(max(0, read - reused))
    metrics.SOURCES_READ.labels("reused").inc(reused)
    for word, count in Counter(word_of(reason) for _, reason in refused).items():
        metrics.SOURCES_SKIPPED.labels(word).inc(count)
