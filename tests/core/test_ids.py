"""Ids: random, and given out once, whoever asks."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

from waybill.core.ids import random_id


def test_each_is_given_out_once_whichever_thread_asks() -> None:
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(lambda _: [random_id() for _ in range(1_000)], range(8)))
    ids = [each for some in drawn for each in some]
    assert len(set(ids)) == len(ids) == 8_000
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


def test_a_copy_of_the_process_gives_out_others() -> None:
    random_id()  # so that some are left for both
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "".join(random_id() for _ in range(300)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    os.waitpid(child, 0)
    theirs = {text[start : start + 32] for start in range(0, len(text), 32)}
    assert len(theirs) == 300
    assert theirs.isdisjoint(random_id() for _ in range(300))
