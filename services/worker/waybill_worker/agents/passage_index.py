"""The BM25 index over the excerpts of a corpus, and the few indexes that are kept between the questions of a task."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from waybill_worker.agents.evidence import Passage
from waybill_worker.agents.words import question_words, words_of
from waybill_worker.sources.corpus import Corpus, Identity, Sources
from waybill_worker.sources.excerpts import Excerpt, Kind

_WEIGHTS = {Kind.PROSE: 1.0, Kind.COMMENT: 0.9, Kind.TABLE: 0.8, Kind.CODE: 0.5}
"""What a kind is worth to someone who wants sentences."""
_MAX_KEPT = 4
_MAX_KEPT_CHARS = 64 * 1024 * 1024


class PassageIndex:
    """Ranks the excerpts of a corpus against questions. Immutable once made, so threads may share it."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.chars = sum(len(excerpt.text) for excerpt in corpus.excerpts)
        tokens = [words_of(f"{excerpt.heading} {excerpt.text}") for excerpt in corpus.excerpts]
        self._ranking: Any = None
        if any(tokens):
            import bm25s

            self._ranking = bm25s.BM25(method="lucene", k1=1.2, b=0.6)
            self._ranking.index(tokens, show_progress=False)

    def best(self, question: str, limit: int) -> list[Passage]:
        """At most `limit` passages that share a word with the question, best first; ties in the order of sources."""
        asked = question_words(question)
        if self._ranking is None or not asked:
            return []
        scores = self._ranking.get_scores(asked)
        weighed = [
            (float(score) * _WEIGHTS[excerpt.kind], position)
            for position, (score, excerpt) in enumerate(zip(scores, self.corpus.excerpts, strict=True))
            if score > 0
        ]
        weighed.sort(key=lambda item: (-item[0], item[1]))
        return [_passage(self.corpus.excerpts[position], score) for score, position in weighed[:limit]]


def _passage(excerpt: Excerpt, score: float) -> Passage:
    return Passage(
        path=excerpt.path,
        line=excerpt.line,
        page=excerpt.page,
        cell=excerpt.cell,
        text=excerpt.text,
        kind=excerpt.kind.value,
        heading=excerpt.heading,
        score=round(score, 4),
    )


class IndexCache:
    """The indexes used last, few and bounded in size. Who asks for one that is being built waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._building: dict[Identity, threading.Lock] = {}
        self._kept: OrderedDict[Identity, PassageIndex] = OrderedDict()

    def index_of(self, sources: Sources, stopped: Callable[[], bool]) -> PassageIndex:
        """The index of the sources, built unless it is kept. Raises what `Sources.read` raises."""
        identity = sources.identity
        with self._lock:
            building = self._building.setdefault(identity, threading.Lock())
        try:
            with building:
                return self._kept_or_built(identity, sources, stopped)
        finally:
            with self._lock:
                self._building.pop(identity, None)

    def _kept_or_built(self, identity: Identity, sources: Sources, stopped: Callable[[], bool]) -> PassageIndex:
        with self._lock:
            kept = self._kept.get(identity)
            if kept is not None:
                self._kept.move_to_end(identity)
                return kept
        index = PassageIndex(sources.read(stopped))
        if not stopped():
            self._keep(identity, index)
        return index

    def _keep(self, identity: Identity, index: PassageIndex) -> None:
        with self._lock:
            self._kept[identity] = index
            while len(self._kept) > 1 and (
                len(self._kept) > _MAX_KEPT or sum(other.chars for other in self._kept.values()) > _MAX_KEPT_CHARS
            ):
                self._kept.popitem(last=False)
