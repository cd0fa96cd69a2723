"""Lists within a clause, each item made a clause by the words that all share.

`What are the causes and effects of X?` asks for the causes of X and for the effects of X.
"""

from __future__ import annotations

import re

from waybill_planner.splitting.lists import items_of
from waybill_planner.splitting.words import ASKING, AUXILIARY, DETERMINER, LEAD, PREPOSITION, bare, is_question

_MAX_DEPTH = 3
_HANDLING = (
    "address|affect|avoid|check|collect|count|create|detect|ensure|guarantee|handle|implement|improve|influence|"
    "limit|log|manage|measure|monitor|plan|prevent|process|protect|provide|record|reduce|report|schedule|secure|"
    "store|support|track|treat|use|validate"
)
_CARRIERS = (
    re.compile(r"(?:what|who|which) (?:is|are|was|were) ", re.IGNORECASE),
    re.compile(r"(?:what|how much) do (?:you|we) know about ", re.IGNORECASE),
    re.compile(r"what can you tell (?:me|us) about ", re.IGNORECASE),
    re.compile(rf"(?:how|why|when|where) (?:{AUXILIARY}) (?:[^\s,]+ ){{1,4}}?(?:{_HANDLING}) ", re.IGNORECASE),
    re.compile(rf"how to (?:{_HANDLING}) ", re.IGNORECASE),
)
_TWO_VERBS = re.compile(
    rf"((?:how|why|when|where) (?:(?:{AUXILIARY}) (?:I|i|you|we|one|they|people|users|[A-Z]\w+)|to)) "
    r"([a-z]+) and ([a-z]+) (.+)",
    re.DOTALL,
)
_FIRST_PREPOSITION = re.compile(rf"\s(?:{PREPOSITION})\s", re.IGNORECASE)
_INTO_TAIL = frozenset({"of", "about", "for", "in", "on", "behind"})
_DETERMINED = re.compile(rf"({DETERMINER}) ", re.IGNORECASE)


def questions_of_lists(clause: str) -> list[str]:
    """The clauses that a clause with lists in it stands for; the clause itself if it has none."""
    text = bare(clause)
    two = _TWO_VERBS.match(text[:1].lower() + text[1:])
    if two and not re.search(rf"\b(?:{ASKING}|and)\b", two[4], re.IGNORECASE):
        return [f"{two[1]} {two[2]} {two[4]}", f"{two[1]} {two[3]} {two[4]}"]
    prefix = _prefix(text)
    if prefix:
        return _expanded(prefix, text[len(prefix) :], _MAX_DEPTH) or [clause]
    items = [] if is_question(text) else items_of(text)
    return items if len(items) > 2 else [clause]


def _prefix(text: str) -> str:
    for carrier in _CARRIERS:
        if match := carrier.match(text):
            return match[0]
    lead = LEAD.match(text)
    return text[: lead.end() + 1] if lead and text[lead.end() : lead.end() + 1] == " " else ""


def _expanded(prefix: str, body: str, depth: int) -> list[str]:
    """The clauses of `prefix` with the items of `body`; nothing if the body holds no list."""
    preposition = _FIRST_PREPOSITION.search(body)
    head, tail = (body[: preposition.start()], body[preposition.start() :]) if preposition else (body, "")
    items = items_of(head)
    if items:
        found: list[str] = []
        for whole in _with_shared_words(items, tail):
            deeper = _expanded(prefix, whole, depth - 1) if depth and preposition else []
            found.extend(deeper or [prefix + whole])
        return found
    if preposition and depth and not _mentions_list(head) and preposition[0].strip().lower() in _INTO_TAIL:
        return _expanded(prefix + head + preposition[0], body[preposition.end() :], depth - 1)
    # `retries, timeouts and the life of a task`: only the last item has a preposition, which belongs to it.
    return []


def _with_shared_words(items: list[str], tail: str) -> list[str]:
    """The items, each with the determiner of the first and with the words behind the last, where these are shared."""
    first = _DETERMINED.match(items[0])
    last_alone = _DETERMINED.match(items[-1]) is not None and first is None
    whole: list[str] = []
    for position, item in enumerate(items):
        if first and first[1].lower() in ("the", "its", "their") and not _DETERMINED.match(item) and item[0].islower():
            item = f"{first[1].lower()} {item}"
        whole.append(item if last_alone and position < len(items) - 1 else item + tail)
    return whole


def _mentions_list(head: str) -> bool:
    return re.search(r",|\band\b|&", head) is not None
