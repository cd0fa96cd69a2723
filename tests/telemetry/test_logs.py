"""Logs are one JSON object a line, whoever writes them."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging
from waybill.telemetry import logs, tracing
log = logs.get_logger("early")
logs.configure("test", "{level}")
tracing.configure("test")
log.debug("quiet")
log.info("step done", task="tasks/t", attempt=2)
with tracing.tracer().start_as_current_span("work"):
    log.info("inside")
    print(tracing.current_traceparent())
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broke")
logging.getLogger("library").warning("from %s", "elsewhere")
"""


def lines_at(level: str) -> tuple[list[dict], str]:
    """What a process logs at a level, and the trace context that it was in."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(level=level)], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stderr.splitlines()], done.stdout.strip()


def test_each_line_has_the_same_keys_first_and_the_trace_where_there_is_one():
    lines, traceparent = lines_at("INFO")
    assert [line["event"] for line in lines] == ["step done", "inside", "broke", "from elsewhere"]
    assert all(list(line)[:4] == ["ts", "level", "service", "event"] for line in lines)
    assert (lines[0]["task"], lines[0]["attempt"], lines[0]["service"]) == ("tasks/t", 2, "test")
    assert lines[1]["trace_id"] == traceparent.split("-")[1]
    assert "trace_id" not in lines[0]
    assert "ZeroDivisionError" in lines[2]["exception"]


def test_the_level_decides_what_is_written():
    assert [line["event"] for line in lines_at("WARNING")[0]] == ["broke", "from elsewhere"]
    assert "quiet" in [line["event"] for line in lines_at("DEBUG")[0]]
