"""Putting names for pronouns: a question that is searched for on its own has to say what it is about."""

from __future__ import annotations

import re

from waybill_planner.splitting.words import AUXILIARY, LEAD, bare, is_plural

_MAX_SUBJECT_WORDS = 6
_DEFINED = re.compile(r"(?:what|who) (?:is|are|was|were) (.+)", re.IGNORECASE | re.DOTALL)
_DEFINED_WITHIN = re.compile(r"what (.+) (?:is|are|was|were|means?)", re.IGNORECASE | re.DOTALL)
_WORKING = re.compile(r"how (?:do|does|did) (.+) works?", re.IGNORECASE | re.DOTALL)
_DOING = re.compile(r"(?:how|why|when|where) (?:do|does|did|can|will|is) ([A-Z]\w+) (?!and\b|or\b)")
_VAGUE = re.compile(r"\b(?:it|its|they|their|them|this|that|these|those|there|you|we|i)\b", re.IGNORECASE)
_PRONOUN = re.compile(
    r"((?:\S+ ){1,4}?)(it|they|its|their)\b"
    r"(?! (?:possible|true|necessary|worth|better|best|wise|important|known|that)\b)(?!')",
    re.IGNORECASE,
)
_NEEDS_SUBJECT = re.compile(rf"(?:{AUXILIARY})|how|why|when|where|what|which|who", re.IGNORECASE)


def with_names(clauses: list[str]) -> list[str]:
    """The clauses with an early `it`, `they`, `its` or `their` replaced by what the clauses before spoke of."""
    named: list[str] = []
    subject = ""
    for clause in clauses:
        if subject:
            clause = _named(clause, subject)
        named.append(clause)
        subject = _subject(clause) or subject
    return named


def _named(clause: str, subject: str) -> str:
    pronoun = _PRONOUN.match(clause)
    if not pronoun or not _NEEDS_SUBJECT.search(pronoun[1]):
        return clause
    are_many = " and " in subject or is_plural(subject)
    if are_many != (pronoun[2].lower() in ("they", "their")):
        return clause
    name = subject
    if pronoun[2].lower() in ("its", "their"):
        name += "'" if subject.endswith("s") else "'s"
    return pronoun[1] + name + clause[pronoun.end() :]


def _subject(clause: str) -> str:
    text = bare(clause)
    lead = LEAD.match(text)
    match = _DEFINED.match(text) or _WORKING.match(text) or _DOING.match(text[:1].lower() + text[1:])
    name = match[1] if match else ""
    if lead:
        requested = text[lead.end() :].strip()
        within = _DEFINED_WITHIN.fullmatch(requested)
        name = within[1] if within else requested
    is_short = 0 < len(name.split()) <= _MAX_SUBJECT_WORDS
    return name if is_short and not _VAGUE.search(name) and not _NEEDS_SUBJECT.match(name) else ""
