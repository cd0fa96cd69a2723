"""From a goal to sentences: lines, bulleted and numbered lists, semicolons, ends of sentences."""

from __future__ import annotations

import re

from waybill_planner.splitting.words import LEAD, asks, bare

_MARKER = re.compile(r"\s*(?:[-*+•–—]|\(?\d{1,3}[.):]|\(?[a-zA-Z][.)])\s+(?=\S)")
_INLINE_NUMBER = re.compile(r"(?:(?<=\s)|^)\(?([1-9]\d?)[.)]\s+(?=\S)")
_SENTENCE_END = re.compile(r"[.!?]{1,10}[\"'”’)]{0,5}(?:\s+|$)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:e\.g|i\.e|etc|vs|cf|approx|resp|incl|mr|mrs|ms|dr|prof|st|no|fig|vol|ed|inc|ltd|co|[a-z](?:\.[a-z])*)$",
    re.IGNORECASE,
)
_EMPTY_LEAD_WORDS = frozenset(
    {"answer", "answers", "the", "following", "these", "this", "me", "us", "about", "question", "questions", "topic"}
    | {"topics", "point", "points", "item", "items", "please", "below", "in", "turn", "each", "of", "and", "for"}
)


def sentences_of(goal: str) -> list[str]:
    """The sentences of a goal; a line of a list is one, with the words that lead the list where it needs them."""
    found: list[str] = []
    for paragraph in _paragraphs(goal):
        if isinstance(paragraph, str):
            found.extend(_of_text(paragraph))
        else:
            lead, items = paragraph
            found.extend(_of_list(lead, items))
    return found


def _paragraphs(goal: str) -> list[str | tuple[str, list[str]]]:
    """Texts, and lists as their leading text and items."""
    found: list[str | tuple[str, list[str]]] = []
    lines: list[str] = []
    items: list[str] = []

    def close() -> None:
        if items:
            leads = _texts(lines)
            has_lead = bool(leads) and (leads[-1].endswith(":") or not asks(leads[-1]))
            found.extend(leads[:-1] if has_lead else leads)
            found.append((leads[-1] if has_lead else "", items.copy()))
        else:
            found.extend(_texts(lines))
        lines.clear()
        items.clear()

    for line in goal.splitlines():
        marker = _MARKER.match(line)
        if marker and not _numbered(line)[1]:
            items.append(line[marker.end() :].strip())
        elif not line.strip():
            if items or not (lines and lines[-1].rstrip().endswith(":")):
                close()
        elif items and line[0].isspace():
            items[-1] += " " + line.strip()
        else:
            if items:
                close()
            lines.append(line.strip())
    close()
    return found


def _texts(lines: list[str]) -> list[str]:
    """Lines as one text, or each on its own if each asks for something."""
    if len(lines) > 1 and all(asks(line) for line in lines):
        return lines.copy()
    text = " ".join(lines)
    if lines and lines[-1].endswith(":") and len(lines) > 1:
        return [" ".join(lines[:-1]), lines[-1]]
    return [text] if text else []


def _of_text(text: str) -> list[str]:
    lead, numbered = _numbered(text)
    if numbered:
        return _of_list(lead, numbered)
    parts = [part for part in text.split(";") if part.strip()]
    if len(parts) > 1:
        opening, colon, first = parts[0].partition(": ")
        if colon and not asks(opening):
            return _of_list(opening, [first, *parts[1:]])
        request = LEAD.match(parts[0].strip())
        return [
            sentence
            for part in parts
            for sentence in _sentences(part if not request or asks(part.strip()) else f"{request[0]} {part.strip()}")
        ]
    opening, colon, rest = text.partition(": ")
    if colon and _is_empty_lead(opening) and "?" not in opening:
        return _of_list(opening, _sentences(rest))
    return _sentences(text)


def _numbered(text: str) -> tuple[str, list[str]]:
    """The text before, and the items of, a list such as `1) this 2) that`; no items if there is none."""
    marks = list(_INLINE_NUMBER.finditer(text))
    if len(marks) < 2 or [int(mark[1]) for mark in marks] != list(range(1, len(marks) + 1)):
        return text, []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    items = [text[mark.end() : end].strip(" ,;") for mark, end in zip(marks, ends, strict=True)]
    items = [re.sub(r"[,;]? and$", "", item) for item in items]
    return text[: marks[0].start()], [item for item in items if bare(item)]


def _of_list(lead: str, items: list[str]) -> list[str]:
    lead = bare(lead)
    request = LEAD.match(lead)
    if request and request[0].lower() == "compare" and _is_empty_lead(lead) and len(items) > 1:
        return ["Compare " + ", ".join(bare(item) for item in items)]
    found: list[str] = []
    for item in items:
        if lead and not _is_empty_lead(lead):
            found.append(f"{lead}: {item}")
        elif request and not asks(item):
            found.append(f"{request[0]} {item}")
        else:
            found.extend(_sentences(item))
    return found


def _is_empty_lead(lead: str) -> bool:
    """Whether a leading text says nothing that its items need, besides its verb."""
    request = LEAD.match(lead)
    rest = lead[request.end() :] if request else lead
    words = re.findall(r"[\w']+", rest.lower())
    return (bool(words) or request is not None) and all(word in _EMPTY_LEAD_WORDS for word in words)


def _sentences(text: str) -> list[str]:
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        before, following = text[start : end.start()], text[end.end() : end.end() + 1]
        is_abbreviation = end[0].startswith(".") and _ABBREVIATION.search(before[-12:]) is not None
        if following and (is_abbreviation or (end[0][0] == "." and following.islower())):
            continue
        if bare(before):
            found.append(text[start : end.end()].strip())
        start = end.end()
    if bare(text[start:]):
        found.append(text[start:].strip())
    return found
