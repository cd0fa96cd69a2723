"""Lists inside a sentence, such as `batching, fencing and retries`, and the pairs that are no lists."""

from __future__ import annotations

import re

from waybill_planner.splitting.words import ASKING, AUXILIARY, DETERMINER

_MAX_ITEM_WORDS = 6
_SEPARATOR = re.compile(r"\s*,\s*(?:(?:and|plus|as well as)\s+|&\s*)?|\s+(?:and|plus|as well as|&)\s+", re.IGNORECASE)
_LAST_SEPARATOR = re.compile(r"\b(?:and|plus|as well as)\b|&", re.IGNORECASE)
_NO_ITEM = re.compile(
    rf"\b(?:it|its|they|them|their|that|because|if|while|whether|not|but|or|so|then|vice|{ASKING}|{AUXILIARY})\b|"
    rf"^(?:so on|more|others|such|only|etc)\b",
    re.IGNORECASE,
)
_NAME_PAIR = re.compile(r"(?:^|\s)(?:[A-Z][a-z]+|[A-Z]) (?:and|&) (?:[A-Z][a-z]+|[A-Z])(?:\s|$)")
_FIXED_PAIRS = (
    "arts and crafts|back and forth|black and white|cause and effect|command and control|copy and paste|cut and paste|"
    "divide and conquer|do's and don'ts|dos and don'ts|drag and drop|food and drink|health and safety|ins and outs|"
    "law and order|life and death|life and times|mergers and acquisitions|nuts and bolts|plug and play|"
    "profit and loss|pros and cons|publish and subscribe|question and answer|research and development|"
    "rise and fall|rules and regulations|science and technology|search and replace|search and rescue|"
    "store and forward|supply and demand|terms and conditions|trial and error|ups and downs|war and peace"
)
_FIXED_PAIR = re.compile(rf"\b(?:{_FIXED_PAIRS})\b", re.IGNORECASE)
_TIE = "\x00"


def tied(text: str) -> str:
    """The text with pairs that mean one thing tied together, so that nothing splits them. `untied` undoes it."""
    return _FIXED_PAIR.sub(lambda pair: pair[0].replace(" ", _TIE), text)


def untied(text: str) -> str:
    """The text with its ties undone."""
    return text.replace(_TIE, " ")


def items_of(text: str, *, names: bool = False) -> list[str]:
    """The items of a list, at least two; nothing if the text is none, or may be none.

    `names` says that two capitalised words are two things (`Redis and Kafka`), not one name (`Marks and Spencer`).
    """
    items = [item.strip() for item in _SEPARATOR.split(re.sub(r"^both ", "", text.strip(), flags=re.IGNORECASE))]
    if len(items) < 2 or not all(_is_item(item) for item in items):
        return []
    if len(items) == 2 and not _LAST_SEPARATOR.search(text):
        return []
    if len(items) == 2 and not names and (_NAME_PAIR.search(text) or _shares_noun(items)):
        return []
    return items


def _is_item(item: str) -> bool:
    return 1 <= len(item.split()) <= _MAX_ITEM_WORDS and any(map(str.isalnum, item)) and not _NO_ITEM.search(item)


def _shares_noun(items: list[str]) -> bool:
    """Whether the first item may need the last one's noun, as in `read and write paths`."""
    first, last = (re.sub(rf"^(?:{DETERMINER}) ", "", item, flags=re.IGNORECASE).split() for item in items)
    has_own_determiner = len(items[1].split()) > len(last)
    return len(first) < len(last) and not has_own_determiner
