"""The BM25 index over the excerpts of a corpus: how it is made, asked, and turned into bytes and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from waybill_worker.agents.evidence import Passage
from waybill_worker.sources.corpus import Corpus
from waybill_worker.sources.excerpts import Excerpt, Kind
from waybill_worker.sources.indexed import Indexed
from waybill_worker.sources.words import question_words

_WEIGHTS = {Kind.PROSE: 1.0, Kind.COMMENT: 0.9, Kind.TABLE: 0.8, Kind.CODE: 0.5}
"""What a kind is worth to someone who wants sentences."""
_ARRAYS = {"data": "<f4", "indices": "<i4", "indptr": "<i8"}
"""The arrays of a ranking, and how their numbers are written."""


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    paths: tuple[str, ...]
    excerpts: tuple[tuple[int, int, str, Kind, str, int, int], ...]
    warnings: tuple[str, ...]
    source_count: int
    vocabulary: tuple[str, ...]
    arrays: dict[str, bytes]


class PassageIndex:
    """Ranks the excerpts of a corpus against questions. Immutable once made, so threads may share it."""

    def __init__(
        self, excerpts: Sequence[Excerpt], warnings: Sequence[str], source_count: int, ranking: Any = None
    ) -> None:
        self.excerpts = excerpts
        self.warnings = warnings
        self.source_count = source_count
        self.chars = sum(len(excerpt.text) for excerpt in excerpts)
        self._ranking = ranking

    @classmethod
    def of(cls, corpus: Corpus) -> PassageIndex:
        """The index of a corpus."""
        ranking = _ranking([found for _, found in corpus.sources])
        return cls(corpus.excerpts, corpus.warnings, corpus.source_count, ranking)

    def best(self, question: str, limit: int) -> list[Passage]:
        """At most `limit` passages that share a word with the question, best first; ties in the order of sources."""
        asked = question_words(question)
        if self._ranking is None or not asked:
            return []
        scores = self._ranking.get_scores(asked)
        weighed = [
            (float(score) * _WEIGHTS[excerpt.kind], position)
            for position, (score, excerpt) in enumerate(zip(scores, self.excerpts, strict=True))
            if score > 0
        ]
        weighed.sort(key=lambda item: (-item[0], item[1]))
        return [_passage(self.excerpts[position], score) for score, position in weighed[:limit]]

    def saved(self) -> bytes:
        """The index as bytes that `loaded` makes the same index of."""
        paths = {excerpt.path: 0 for excerpt in self.excerpts}
        places = {path: place for place, path in enumerate(paths)}
        excerpts = tuple((places[e.path], e.line, e.text, e.kind, e.heading, e.page, e.cell) for e in self.excerpts)
        vocabulary: tuple[str, ...] = ()
        arrays: dict[str, bytes] = {}
        if self._ranking is not None:
            vocabulary = tuple(sorted(self._ranking.vocab_dict, key=self._ranking.vocab_dict.__getitem__))
            arrays = {name: self._ranking.scores[name].astype(kind).tobytes() for name, kind in _ARRAYS.items()}
        saved = _Saved(tuple(paths), excerpts, tuple(self.warnings), self.source_count, vocabulary, arrays)
        return msgspec.msgpack.encode(saved)

    @classmethod
    def loaded(cls, content: bytes) -> PassageIndex:
        """The index that was saved. Raises ValueError if it was not saved by this edition."""
        saved = msgspec.msgpack.decode(content, type=_Saved)
        paths = saved.paths
        excerpts = [Excerpt(paths[excerpt[0]], *excerpt[1:]) for excerpt in saved.excerpts]
        return cls(excerpts, saved.warnings, saved.source_count, _restored(saved, len(excerpts)))


def _ranking(sources: Sequence[Indexed]) -> Any:
    """The ranking of all excerpts of the sources, or None if they hold no word."""
    vocabulary: dict[str, int] = {}
    documents: list[list[int]] = []
    for found in sources:
        places = [vocabulary.setdefault(word, len(vocabulary)) for word in found.vocabulary]
        documents += ([places[word] for word in piece.words] for piece in found.pieces)
    if not vocabulary:
        return None
    ranking = _empty_ranking()
    ranking.index((documents, vocabulary), show_progress=False)
    return ranking


def _restored(saved: _Saved, count: int) -> Any:
    if not saved.arrays:
        return None
    import numpy

    ranking = _empty_ranking()
    ranking.scores = {name: numpy.frombuffer(saved.arrays[name], kind) for name, kind in _ARRAYS.items()}
    ranking.scores["num_docs"] = count
    ranking.nonoccurrence_array = None
    ranking.vocab_dict = {word: place for place, word in enumerate(saved.vocabulary)}
    return ranking


def _empty_ranking() -> Any:
    import bm25s

    return bm25s.BM25(method="lucene", k1=1.2, b=0.6)


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
