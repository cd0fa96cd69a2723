"""How long the disk beneath a store takes to make a small write last: no acknowledged step can be faster."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from measurement import percentile, rounded

APPENDS = 300
APPENDED_BYTES = 400
"""About what one settled step adds to the store's log."""


def fsync_ms(folder: Path, appends: int = APPENDS) -> dict[str, float]:
    """Milliseconds of an append and the sync that makes it last, in a file of this folder: p50 and p99."""
    took = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(appends):
            began = time.perf_counter()
            file.write(b"x" * APPENDED_BYTES)
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1_000)
    return {"p50": rounded(percentile(took, 50)), "p99": rounded(percentile(took, 99))}
