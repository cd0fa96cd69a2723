"""From a goal to the questions that answer it. The same goal always gives the same questions."""

from __future__ import annotations

import re
import unicodedata

from waybill_planner.splitting.blocks import sentences_of
from waybill_planner.splitting.clauses import clauses_of
from waybill_planner.splitting.comparisons import questions_of_comparison
from waybill_planner.splitting.coordination import questions_of_lists
from waybill_planner.splitting.lists import tied, untied
from waybill_planner.splitting.pronouns import with_names
from waybill_planner.splitting.words import asks, finished, without_courtesy

MAX_QUESTIONS = 12
"""Most questions of a goal. What is beyond becomes part of the last one."""
MAX_SENTENCE_CHARS = 600
"""A sentence longer than this is left as it is."""


def questions_of(goal: str) -> list[str]:
    """The questions of a goal, 1 to MAX_QUESTIONS, none empty, no two the same; the goal itself if it is one question.

    White space and control characters become single spaces. A goal without any visible character gives nothing.
    """
    text = _clean(goal)
    whole = " ".join(text.split())
    if not whole:
        return []
    sentences = _with_context(sentences_of(tied(text)))
    clauses = [clause for sentence in sentences for clause in _clauses(sentence)]
    questions = [question for clause in with_names(clauses) for question in _questions(clause)]
    distinct: dict[str, str] = {}
    for question in questions:
        shown = " ".join(untied(finished(question)).split())
        if shown:
            distinct.setdefault(shown.casefold(), shown)
    found = list(distinct.values())
    if len(found) <= 1:
        return [whole]
    return found if len(found) <= MAX_QUESTIONS else [*found[: MAX_QUESTIONS - 1], " ".join(found[MAX_QUESTIONS - 1 :])]


def _clean(goal: str) -> str:
    """The goal without control characters, its lines kept."""
    lines = "\n".join(goal.splitlines())
    visible = "".join(" " if unicodedata.category(c) == "Cc" and c != "\n" else c for c in lines)
    return re.sub(r"[^\S\n]+", " ", visible)


def _with_context(sentences: list[str]) -> list[str]:
    """Sentences that ask for nothing joined to the one they lead to, or, behind the last that asks, to that one."""
    if not any(asks(without_courtesy(sentence)) for sentence in sentences):
        is_prose = any(sentence.endswith((".", "!")) for sentence in sentences)
        return [" ".join(sentences)] if is_prose else sentences
    joined: list[str] = []
    context: list[str] = []
    for sentence in sentences:
        context.append(sentence)
        if asks(without_courtesy(sentence)) or ": " in sentence:
            joined.append(" ".join(context))
            context = []
    if context:
        joined[-1:] = [" ".join([*joined[-1:], *context])]
    return joined


def _clauses(sentence: str) -> list[str]:
    if len(sentence) > MAX_SENTENCE_CHARS:
        return [sentence]
    plain = without_courtesy(sentence)
    return clauses_of(plain)


def _questions(clause: str) -> list[str]:
    if len(clause) > MAX_SENTENCE_CHARS:
        return [clause]
    return questions_of_comparison(clause) or questions_of_lists(clause)
