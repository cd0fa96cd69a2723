"""How much of a question's time it saves that a folder was indexed before: one line of JSON.

A folder of many small files is asked a question four times, each time by a process that remembers nothing: with
nothing kept, when all is kept, when one file has changed, and with keeping turned off. All four must answer the same
but for the changed file. Times are processor time of the retriever alone, so that a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from waybill_worker.sources.keeping import SETTLED_AFTER_NS

QUESTION = "How does the ledger take steps back from a worker that died?"
_ASK = """
import asyncio, hashlib, json, sys, time
from waybill.testing import run_agent
from waybill_worker.agents.retriever import retriever
import bm25s, markdown_it
question, path = sys.argv[1:]
started = time.process_time()
output = asyncio.run(run_agent(retriever, {"question": question, "paths": [path]}, timeout_seconds=3600)).output
seconds = time.process_time() - started
digest = hashlib.sha256(json.dumps(output).encode()).hexdigest()
print(json.dumps({"seconds": seconds, "sources": output["source_count"], "digest": digest}))
"""


@dataclass(frozen=True)
class Result:
    """Seconds of processor time of each question, and how many times cheaper than the first the later ones were."""

    files: int
    megabytes: float
    first_seconds: float
    unchanged_seconds: float
    one_changed_seconds: float
    off_seconds: float
    unchanged_times_cheaper: float
    one_changed_times_cheaper: float
    kept_to_read_ratio: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=3_000)
    parser.add_argument("--bytes", type=int, default=8_000, help="size of a file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = _measure(Path(folder), asked.files, asked.bytes)
    print(json.dumps(asdict(result)))
    return 0


def _measure(folder: Path, files: int, size_bytes: int) -> Result:
    root, index = folder / "root", folder / "index"
    total_bytes = _fill(root, files, size_bytes)
    environment = {**os.environ, "WAYBILL_WORKER_SOURCE_ROOTS": str(root), "WAYBILL_WORKER_INDEX_DIR": str(index)}
    # The folder was changed just now, and is trusted by its times only when it is older.
    time.sleep(SETTLED_AFTER_NS / 1e9 + 0.5)
    off = _ask(root, {**environment, "WAYBILL_WORKER_INDEX_MAX_BYTES": "0"})
    first = _ask(root, environment)
    unchanged = _ask(root, environment)
    kept_bytes = sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
    changed = root / "0000" / "0.md"
    changed.write_text(changed.read_text() + "\nThe dispatcher sings while it waits.\n")
    one_changed = _ask(root, environment)
    if not off["digest"] == first["digest"] == unchanged["digest"] or off["sources"] != files:
        raise SystemExit("the answers differ, so the times mean nothing")
    return Result(
        files=files,
        megabytes=round(total_bytes / 1e6, 1),
        first_seconds=round(first["seconds"], 2),
        unchanged_seconds=round(unchanged["seconds"], 2),
        one_changed_seconds=round(one_changed["seconds"], 2),
        off_seconds=round(off["seconds"], 2),
        unchanged_times_cheaper=round(first["seconds"] / unchanged["seconds"], 1),
        one_changed_times_cheaper=round(first["seconds"] / one_changed["seconds"], 1),
        kept_to_read_ratio=round(kept_bytes / total_bytes, 1),
    )


def _fill(root: Path, files: int, size_bytes: int) -> int:
    """Write Markdown of the paragraphs of this repository's pages, in another order in each file."""
    pages = sorted((Path(__file__).parents[1] / "docs").rglob("*.md"))
    paragraphs = [part for page in pages for part in page.read_text().split("\n\n") if part.strip()]
    chance = random.Random(1)
    total_bytes = 0
    for number in range(files):
        text = ""
        while len(text) < size_bytes:
            text += chance.choice(paragraphs) + "\n\n"
        path = root / f"{number % 50:04}" / f"{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        total_bytes += path.write_bytes(text.encode()[:size_bytes].decode("utf-8", "ignore").encode())
    return total_bytes


def _ask(root: Path, environment: dict[str, str]) -> dict[str, float | str]:
    asking = subprocess.run(
        [sys.executable, "-c", _ASK, QUESTION, str(root)],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    told: dict[str, float | str] = json.loads(asking.stdout)
    return told


if __name__ == "__main__":
    sys.exit(main())
