"""The list of what is wrong with a request: everything is counted, the first hundred are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rapidfuzz import fuzz, process

from waybill.errors import Violation

MAX_VIOLATIONS = 100
MAX_NAMES_SHOWN = 20


class Violations:
    """Collects violations in the order they are found. Never raises."""

    def __init__(self) -> None:
        self._kept: list[Violation] = []
        self._count = 0

    def add(self, field: str, description: str | Callable[[], str]) -> None:
        """Note one violation. A description that is costly to make is passed as a function, called only if kept."""
        self._count += 1
        if len(self._kept) < MAX_VIOLATIONS:
            text = description if isinstance(description, str) else description()
            self._kept.append(Violation(field, text))

    def __bool__(self) -> bool:
        return self._count > 0

    def listed(self, rest_field: str) -> list[Violation]:
        """The violations; where there are too many to list, a last one under `rest_field` says how many more."""
        hidden = self._count - len(self._kept)
        if not hidden:
            return list(self._kept)
        return [*self._kept, Violation(rest_field, f"and {hidden} more violations, not listed")]


def shown(name: str) -> str:
    """A name as messages quote it: in full if short, cut if not, control characters escaped."""
    return repr(name if len(name) <= 80 else name[:80] + "...")


def closest(name: str, known: Iterable[str]) -> str:
    """A hint such as `; did you mean 'retriever'?`, empty if no known name is near."""
    found = process.extractOne(name[:100], list(known), scorer=fuzz.ratio, score_cutoff=70)
    return f"; did you mean {found[0]!r}?" if found else ""


def listing(names: Iterable[str]) -> str:
    """Names in order, shortened where they are many."""
    ordered = sorted(names)
    more = len(ordered) - MAX_NAMES_SHOWN
    return ", ".join(ordered[:MAX_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "") if ordered else "none"
