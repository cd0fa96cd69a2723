"""Sentences that say the same become one claim which keeps every source."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from waybill_worker.agents.ranking import Ranked

_SAME_PERCENT = 92
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NEGATION = re.compile(r"\b(?:no|not|never|none|neither|nor|without|cannot|\w+n['\u2019]t)\b")
_MARKUP = re.compile(r"[^\w\s]+")


@dataclass(slots=True)
class Group:
    """A sentence and those that say the same, best first."""

    members: list[Ranked]
    folded: str
    facts: tuple[tuple[str, ...], int] = field(default=((), 0))

    @property
    def best(self) -> Ranked:
        """The member that stands for all."""
        return self.members[0]


def merge(ranked: Iterable[Ranked], limit: int, least_share: float) -> list[Group]:
    """The best `limit` groups of sentences. None of them scores less than `least_share` of the very best."""
    from rapidfuzz import fuzz

    groups: list[Group] = []
    for item in ranked:
        text = item.sentence.text.casefold()
        # Words alone tell sentences apart badly where one number or one "not" makes the difference.
        facts = (tuple(_NUMBER.findall(text)), len(_NEGATION.findall(text)))
        folded = " ".join(_MARKUP.sub(" ", text).split())
        same = next(
            (
                group
                for group in groups
                if group.facts == facts and fuzz.ratio(group.folded, folded, score_cutoff=_SAME_PERCENT)
            ),
            None,
        )
        if same is not None:
            same.members.append(item)
        elif len(groups) < limit and (not groups or item.score >= least_share * groups[0].best.score):
            groups.append(Group([item], folded, facts))
    return groups
