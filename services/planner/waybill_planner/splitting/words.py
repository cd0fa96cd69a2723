"""The words that splitting knows, and small questions about them."""

from __future__ import annotations

import re

ASKING = "what|how|why|when|where|who|whom|whose|which"
"""Words that open a question."""
AUXILIARY = (
    "is|are|was|were|do|does|did|can|could|should|would|will|has|have|had|may|might|must|isn't|aren't|doesn't|don't"
)
IMPERATIVE = (
    "analyse|analyze|assess|clarify|compare|contrast|define|describe|discuss|examine|explain|explore|evaluate|find|"
    "give|identify|investigate|list|name|outline|report|research|review|show|state|study|summarise|summarize|tell|write"
)
"""Verbs that open a request."""
DETERMINER = "the|a|an|its|their|this|these|those|each|every|all|any|some|both|your|our|my"
PREPOSITION = (
    "of|in|for|on|at|from|with|by|to|under|during|across|within|without|between|against|about|into|over|through|"
    "after|before|as|like|behind|per|via|than|among|inside|outside|using"
)

LEAD = re.compile(
    rf"(?:(?:tell|give|show) (?:me|us) (?:(?:more |something )?about|an? (?:overview|summary|account) of)|"
    rf"(?:tell|give|show) (?:me|us)|give an? (?:overview|summary|account) of|find out(?: about)?|"
    rf"(?:{IMPERATIVE})(?: to (?:me|us))?)\b",
    re.IGNORECASE,
)
"""What opens a request, up to what is requested: `Explain`, `Tell me about`."""

_COURTESY = re.compile(
    r"(?:please|kindly|(?:can|could|would|will) you(?: please| kindly)?|"
    r"i(?:'d| would) like(?: you)? to|i (?:want|need)(?: you)? to)[ ,]+(?=\w)",
    re.IGNORECASE,
)
_WANT_TO_KNOW = re.compile(r"(?:know|learn|understand)(?: about)? ", re.IGNORECASE)
_PLURAL = re.compile(r"[a-z][^\W\d_]*(?<![suio'])s")
_QUESTION = re.compile(rf"(?:{ASKING}|{AUXILIARY})\b", re.IGNORECASE)
_INVERTED = re.compile(
    rf"(?:{ASKING}) (?:{AUXILIARY})\b|"
    rf"(?:how|what|which|whose) (?!(?:{DETERMINER}|it|they|he|she|we|you|i|{AUXILIARY})\b)"
    rf"[\w-]+(?: [\w-]+){{0,2}}? (?:{AUXILIARY})\b|how to \w",
    re.IGNORECASE,
)


def is_question(text: str) -> bool:
    """Whether the text opens as a question does."""
    return _QUESTION.match(text) is not None


def is_inverted(text: str) -> bool:
    """Whether the text opens as a question of its own does (`how does`, `which store is`), not as a subclause."""
    return _INVERTED.match(text) is not None


def is_request(text: str) -> bool:
    """Whether the text opens as a request does (`explain`, `tell me about`)."""
    return LEAD.match(text) is not None


def asks(text: str) -> bool:
    """Whether the text asks for something by its form."""
    return text.endswith("?") or is_question(text) or is_request(text)


def without_courtesy(text: str) -> str:
    """The text without `please`, `could you` and the like before the request."""
    bare = text
    while courtesy := _COURTESY.match(bare):
        bare = bare[courtesy.end() :]
    if bare is not text and (known := _WANT_TO_KNOW.match(bare)):
        bare = bare[known.end() :]
    return bare if bare is text or asks(bare) else text


def bare(text: str) -> str:
    """The text without white space around it and punctuation behind it."""
    return text.strip().rstrip(" ?!.,;:")


def finished(text: str) -> str:
    """The text as a question stands in a plan: a capital first, a question mark if it opens as a question does."""
    asked = text.rstrip().endswith("?")
    text = bare(text)
    first = text.split(" ", 1)[0]
    if first.islower():
        text = text[0].upper() + text[1:]
    return text + "?" if text and (asked or is_question(text)) else text


def is_plural(name: str) -> bool:
    """Whether the last word of a name looks like a plural that is no name of its own."""
    return _PLURAL.fullmatch(name.split()[-1]) is not None and not re.match(r"an? ", name, re.IGNORECASE)
