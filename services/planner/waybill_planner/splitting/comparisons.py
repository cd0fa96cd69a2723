"""Comparisons: `compare A and B on X`, `the difference between A and B`, `A vs B`."""

from __future__ import annotations

import re

from waybill_planner.splitting.lists import items_of
from waybill_planner.splitting.words import LEAD, bare, is_plural, is_question

_MAX_GRID = 12
_PREPOSITION = (
    "on|in terms of|regarding|concerning|with regard to|with respect to|as regards|based on|when it comes to|by|for|in"
)
_ASPECT = rf"(?: (?P<how>{_PREPOSITION}) (?P<aspects>.+))?"
_SUBJECTS = rf"(?P<subjects>.+?){_ASPECT}$"
_OPENING = r"(?:(?:what|explain|describe|list|name|show)(?: is| are|'s)? )?(?:the )?(?:main |key |biggest |major )?"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE | re.DOTALL)
    for form in (
        rf"compare(?: and contrast)? {_SUBJECTS}",
        rf"(?:(?:what is|what's|give|make|write) )?an? comparison (?:of|between) {_SUBJECTS}",
        rf"{_OPENING}differences? between {_SUBJECTS}",
        rf"how (?:do|does|did) (?P<subjects>.+?) (?:differ|compare)(?: from each other)?{_ASPECT}$",
        rf"how (?:do|does|did) (?P<subjects>.+? (?:differ from|compare (?:to|with|against)) .+?){_ASPECT}$",
        rf"how (?:is|are|was|were) (?P<subjects>.+? different (?:from|to|than) .+?){_ASPECT}$",
    )
)
_VERSUS = re.compile(rf"(?P<subjects>.+? (?:vs\.?|versus) .+?){_ASPECT}$", re.IGNORECASE | re.DOTALL)
_AGAINST = re.compile(
    r" (?:vs\.?|versus|differ from|compared? (?:to|with|against)|different (?:from|to|than)|with|to|against) ",
    re.IGNORECASE,
)
_ON = frozenset({"by", "based on", "as regards", "concerning", "when it comes to", "with regard to", "with respect to"})


def questions_of_comparison(sentence: str) -> list[str]:
    """The questions of a comparison: each thing for each aspect, or what each is and how they differ; else nothing."""
    text = bare(sentence)
    match = next((found for form in _FORMS if (found := form.match(text))), None)
    if match is None and not is_question(text) and not LEAD.match(text):
        match = _VERSUS.match(text)
    if match is None:
        return []
    subjects = items_of(_AGAINST.sub(", and ", match["subjects"]), names=True)
    if not subjects:
        return []
    aspects = _aspects(match["aspects"] or "")
    if not aspects:
        return [*(f"{_copula(subject)} {subject}?" for subject in subjects), _difference(subjects)]
    how = match["how"].lower()
    how = "on" if how in _ON else how
    if len(subjects) * len(aspects) > _MAX_GRID:
        return [_difference(subjects, f" {how} {aspect}") for aspect in aspects]
    return [f"How {_do(subject)} {subject} fare {how} {aspect}?" for aspect in aspects for subject in subjects]


def _aspects(text: str) -> list[str]:
    if not text:
        return []
    return items_of(text) or [text]


def _difference(subjects: list[str], aspect: str = "") -> str:
    return f"How do {', '.join(subjects[:-1])} and {subjects[-1]} differ{aspect}?"


def _copula(subject: str) -> str:
    return "What are" if is_plural(subject) else "What is"


def _do(subject: str) -> str:
    return "do" if is_plural(subject) else "does"
