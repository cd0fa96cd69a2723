"""From a sentence to clauses that ask for one thing each: `What is X and how does it work?` asks for two."""

from __future__ import annotations

import re

from waybill_planner.splitting.words import (
    ASKING,
    AUXILIARY,
    DETERMINER,
    IMPERATIVE,
    LEAD,
    bare,
    is_inverted,
    is_question,
    is_request,
)

_JOINT = re.compile(
    r"(?P<joint>\s*,\s*(?:and |then |but |also )*|\s+(?:and|then) (?:then |also )?)"
    rf"(?=(?:{ASKING}|{AUXILIARY}|{IMPERATIVE})\b)",
    re.IGNORECASE,
)
_SHARED_RULE = re.compile(
    rf"((?:{ASKING})(?:(?: and |, and |, )(?:{ASKING}))+) ((?:{AUXILIARY}|to)\b.+)", re.IGNORECASE | re.DOTALL
)
_SUBJECT_NEXT = re.compile(rf"(?:{AUXILIARY}) (?:{DETERMINER}|it|they|there|you|we|i|one)\b", re.IGNORECASE)
_OPENS_REQUEST = re.compile(rf"\w+ (?:(?i:{DETERMINER}|{ASKING}|me|us)\b|[A-Z])")
_ASKS_FOR_SUBJECT = re.compile(rf"(?:what|who) (?!(?:{DETERMINER}|it|they|he|she|we|you|i|one|to)\b)", re.IGNORECASE)


def clauses_of(sentence: str) -> list[str]:
    """The clauses of a sentence, each made whole by the words it shares; the sentence itself if it has but one."""
    shared = _SHARED_RULE.match(sentence)
    if shared:
        return [f"{word} {shared[2]}" for word in re.split(r", and | and |, ", shared[1])]
    if not is_question(sentence) and not is_request(sentence):
        return [sentence]
    clauses: list[str] = []
    start = 0
    carried = ""
    for joint in _JOINT.finditer(sentence):
        lead = LEAD.match(carried or sentence[start:])
        whole = _whole(bare(sentence[joint.end() :]), lead[0] if lead else "", joint["joint"])
        if whole is None or not bare(sentence[start : joint.start()]):
            continue
        clauses.append(carried + sentence[start : joint.start()])
        start = joint.end()
        carried = f"{lead[0]} " if whole == "carried" and lead else ""
    clauses.append(carried + sentence[start:])
    return clauses


def _whole(rest: str, lead: str, joint: str) -> str | None:
    """How what follows a joint becomes a clause: as it stands, with the request's lead carried over, or (None) not."""
    if rest.count(" ") < 1:
        return None
    first = rest.split(" ", 1)[0].lower()
    if first in ASKING.split("|"):
        if is_inverted(rest):
            return "standing"
        if not lead and ("," in joint or rest.startswith("what happens ")) and _ASKS_FOR_SUBJECT.match(rest):
            return "standing"
        return "carried" if lead and rest.count(" ") >= 2 - (first == "who") else None
    if first in AUXILIARY.split("|"):
        return "standing" if not lead and _SUBJECT_NEXT.match(rest) else None
    return "standing" if "then" in joint or _OPENS_REQUEST.match(rest) else None
