"""What a folder says is not to be read: `.gitignore` and `.waybillignore`, as git reads such files, folder by folder.

A rule of a deeper folder goes before one of a folder above it, a later line before an earlier one, `.waybillignore`
before `.gitignore`. Nothing below a folder that is left out is looked at. What is hidden is left out without any rule,
unless a line of a `.waybillignore` asks for it with `!`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from waybill_worker.sources.files import read_file
from waybill_worker.sources.roots import Place, Refusal

if TYPE_CHECKING:
    from pathspec.pattern import RegexPattern

GIT_FILE = ".gitignore"
OWN_FILE = ".waybillignore"
IGNORED = f"left out by {GIT_FILE} or {OWN_FILE}"
MAX_RULES_BYTES = 64 * 1024
MAX_RULES = 1_000
MAX_RULE_CHARS = 500
MAX_STARS = 3
"""Most stars between two slashes of a rule, and most `**` of a rule: what has more takes too long to compare."""
MAX_MATCHING_SECONDS = 20.0
NOT_ALL_RULES = (
    f"has rules that were passed over: they are not understood, are longer than {MAX_RULE_CHARS} characters, have over"
    f" {MAX_STARS} stars between two slashes, or come after the first {MAX_RULES:,}"
)
TOO_LARGE_RULES = f"is passed over, it is larger than {MAX_RULES_BYTES // 1024} KiB"
TOO_SLOW_RULES = f"left out, comparing with the rules of {GIT_FILE} and {OWN_FILE} took too long"

_FOLDER_MARK = "ps_d"
"""Names the slash behind a folder in the expressions that the library makes of rules."""
_INNER_FOLDERS = re.compile(r"/\*\*/\s*\Z")
_STARS = re.compile(r"\*+")


class Verdict(Enum):
    """What the rules say of a file or folder."""

    NOTHING = "nothing"
    IGNORED = "ignored"
    ASKED_FOR = "asked for"
    """By a `!` of a `.waybillignore`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one file; `depth` is how many parts of a path lead to the folder that it lies in."""

    depth: int
    patterns: tuple[RegexPattern, ...]
    own: bool

    def judge(self, path: tuple[str, ...], is_folder: bool) -> Verdict:
        """What the rules of this file alone say of a path."""
        shown = "/".join(path[self.depth :]) + "/" * is_folder
        for pattern in reversed(self.patterns):
            if pattern.include is not None and _means(pattern, shown):
                return Verdict.IGNORED if pattern.include else Verdict.ASKED_FOR
        return Verdict.NOTHING


@dataclass(slots=True)
class Clock:
    """The time that one walk has spent on comparing with rules."""

    spent_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ignoring:
    """The rules that hold in a folder, the nearest first. `path` leads to the folder, as it was walked."""

    path: tuple[str, ...]
    rules: tuple[Rules, ...]
    clock: Clock

    def verdict(self, name: str, is_folder: bool) -> Verdict:
        """What the rules say of an entry of the folder. Raises `Refusal` once comparing has taken too long."""
        if not self.rules:
            return Verdict.NOTHING
        if self.clock.spent_seconds > MAX_MATCHING_SECONDS:
            raise Refusal(TOO_SLOW_RULES)
        started = time.monotonic()
        try:
            for rules in self.rules:
                verdict = rules.judge((*self.path, name), is_folder)
                if verdict is not Verdict.NOTHING:
                    # What git would not ignore is not what somebody asked this project to read.
                    asked = verdict is Verdict.IGNORED or rules.own
                    return verdict if asked else Verdict.NOTHING
            return Verdict.NOTHING
        finally:
            self.clock.spent_seconds += time.monotonic() - started

    def inside(self, name: str) -> Ignoring:
        """What holds in a folder of this one, before its own rules are read."""
        return Ignoring((*self.path, name), self.rules, self.clock)

    def reading(self, folder: Place, names: Container[str]) -> tuple[Ignoring, list[tuple[str, str]]]:
        """What holds with the rules of the folder itself, which holds files of these names; what is wrong there."""
        added: list[Rules] = []
        wrong: list[tuple[str, str]] = []
        for name in (OWN_FILE, GIT_FILE):
            if name not in names:
                continue
            try:
                patterns, all_of_them = _patterns(folder.child(name))
            except Refusal as refusal:
                wrong.append((name, str(refusal)))
                continue
            if not all_of_them:
                wrong.append((name, NOT_ALL_RULES))
            if patterns:
                added.append(Rules(len(self.path), patterns, own=name == OWN_FILE))
        return Ignoring(self.path, (*added, *self.rules), self.clock), wrong


def above(folder: Place) -> Ignoring:
    """What holds in a folder that a task names, from the folders above it, but for the files that leave it out."""
    holds = Ignoring((), (), Clock())
    at = Place(folder.root, ())
    for depth, part in enumerate(folder.parts):
        holds, _ = holds.reading(at, (OWN_FILE, GIT_FILE))
        named = folder.parts[: depth + 1]
        at = at.child(part)
        holds = Ignoring(named, holds.rules, holds.clock)
    kept = tuple(rules for rules in holds.rules if not _leaves_out(rules, folder.parts))
    return Ignoring(folder.parts, kept, holds.clock)


def _means(pattern: RegexPattern, shown: str) -> bool:
    """Whether a rule means this very path. The folders above it were judged before, and so is what is inside it."""
    for match in pattern.regex.finditer(shown) if pattern.regex is not None else ():
        mark = match.end(_FOLDER_MARK) if match.groupdict().get(_FOLDER_MARK) else 0
        if mark == len(shown) or (not mark and not (shown.endswith("/") and match.end() == len(shown))):
            return True
    return False


def _leaves_out(rules: Rules, parts: tuple[str, ...]) -> bool:
    ends = range(rules.depth + 1, len(parts) + 1)
    return any(rules.judge(parts[:end], is_folder=True) is Verdict.IGNORED for end in ends)


def _patterns(place: Place) -> tuple[tuple[RegexPattern, ...], bool]:
    """The rules of a file in its order, and whether these are all. Raises `Refusal` if it cannot be read."""
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    data = read_file(place)
    if len(data) > MAX_RULES_BYTES:
        raise Refusal(TOO_LARGE_RULES)
    patterns: list[RegexPattern] = []
    all_of_them = True
    for line in _meant(data.decode("utf-8-sig", "surrogateescape").splitlines()):
        if len(patterns) == MAX_RULES or not _is_bounded(line):
            all_of_them = False
            continue
        try:
            # The library takes all folders inside one for that one.
            patterns.append(GitIgnoreSpecPattern(_INNER_FOLDERS.sub("/**/*/", line)))
        except ValueError:
            all_of_them = False
    return tuple(patterns), all_of_them


def _meant(lines: list[str]) -> Iterator[str]:
    return (line for line in lines if line.strip() and not line.startswith("#"))


def _is_bounded(rule: str) -> bool:
    if len(rule) > MAX_RULE_CHARS:
        return False
    segments = rule.split("/")
    return all(len(_STARS.findall(segment)) <= MAX_STARS for segment in segments) and segments.count("**") <= MAX_STARS
