"""Sentences of passages, whoever else is splitting at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from waybill_worker.agents.evidence import Passage
from waybill_worker.agents.sentences import sentences_of


def test_threads_that_split_at_the_same_time_get_the_same_sentences() -> None:
    texts = [
        f"The first of {n} is here. The second one of {n} follows. A third one, of {n}, ends it." for n in range(60)
    ]
    passages = [[Passage(path="a.txt", line=1, text=text)] for text in texts]
    alone = [list(sentences_of(one)) for one in passages]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: list(sentences_of(one)), passages))
    assert together == alone
