"""Takes the pictures of the web console that stand beside it, from a real run of the whole suite.

The suite runs over a store of its own; nothing of it is left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright

from waybill.cli.ports import free_ports

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "screenshots"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
MAX_BYTES = 200_000
START_SECONDS = 60
SIZE = {"width": 1180, "height": 740}
GOAL = "What does the gateway own, what does the dispatcher own, and what happens when a worker dies?"
SOURCES = ("harbour-log", "tide-tables", "weather", "pilots", "chart-notes")
QUESTION = {
    "prompt": "Shall the digest go out to the pilots?",
    "answer_schema": {"type": "object", "required": ["send"], "properties": {"send": {"type": "boolean"}}},
}


def _digest() -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    for name in SOURCES:
        held, fails = name == "pilots", name == "tide-tables"
        steps += [
            {"name": f"fetch-{name}", "agent": "fetch", "input": {"source": name}},
            {
                "name": f"sum-{name}",
                "agent": "summarise",
                "input": {"source": f"${{fetch-{name}.source}}", "held": held},
            },
            {
                "name": f"check-{name}",
                "agent": "check",
                "input": {"source": name, "fails": fails},
                "after": [f"sum-{name}"],
            },
        ]
    draft = {"name": "digest", "agent": "summarise", "input": {"source": "all"}}
    send = {"name": "release", "input": {"text": "${digest.summary}"}, "question": QUESTION}
    return {"steps": [*steps, {**draft, "after": [f"check-{name}" for name in SOURCES]}, send]}


@contextmanager
def running_suite(folder: Path) -> Iterator[str]:
    """The base URL of a suite that runs until the block ends."""
    grpc_port, http_port = free_ports(2)
    command = [sys.executable, "-m", "waybill.cli.main", "up", "--data-dir", str(folder / "data")]
    command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "WAYBILL_WORKER_AGENTS": "shown_agents", "PYTHONPATH": os.pathsep.join(paths)}
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Waybill is up" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        yield f"http://127.0.0.1:{http_port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def furnish(url: str) -> dict[str, str]:
    """The names of the tasks that the pictures show, with others around them."""
    with httpx.Client(base_url=url, timeout=30) as client:

        def submit(**spec: Any) -> str:
            return str(client.post("/v1/tasks", json=spec).raise_for_status().json()["name"])

        text = (ROOT / "docs" / "architecture.md").read_text()
        documents = [{"name": "architecture.md", "text": text}]
        publish = {"steps": [{"name": "publish", "agent": "publish", "input": {"text": "March"}}]}
        quick = {"steps": [{"name": name, "agent": "fetch", "input": {"source": name}} for name in SOURCES]}
        later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 9 * 3600))
        submit(goal="How are events kept, and how does a watcher resume?", documents=documents, labels={"team": "docs"})
        submit(plan=quick, labels={"team": "ocean", "kind": "hourly"}, template="collect-sources")
        report = submit(goal=GOAL, documents=documents, labels={"team": "docs", "kind": "review"})
        submit(plan=publish, labels={"team": "ocean"}, template="publish-journal")
        submit(plan={"steps": [{"name": "ask", "question": QUESTION}]}, labels={"team": "ocean"}, template="release")
        submit(plan=quick, labels={"team": "ocean", "kind": "daily"}, start_time=later, template="morning-digest")
        budget = {"max_cost_microusd": 250_000}
        digest = submit(
            plan=_digest(),
            labels={"team": "ocean", "kind": "digest"},
            budget=budget,
            priority="high",
            template="harbour-digest",
        )
        return {"report": report, "digest": digest}


def take(browser: Browser, url: str, tasks: dict[str, str], scheme: Any) -> None:
    """All pictures in one set of colours."""
    context = browser.new_context(
        viewport=SIZE, device_scale_factor=1.3, color_scheme=scheme, reduced_motion="reduce", locale="en-GB"
    )
    page = context.new_page()
    page.goto(f"{url}/#/{tasks['digest']}?step=sum-pilots")
    expect(page.locator('.node[data-id="check-tide-tables"]')).to_have_attribute("data-state", "backoff")
    expect(page.locator('.node[data-id="check-chart-notes"]')).to_have_attribute("data-state", "succeeded")
    expect(page.locator(".streamed")).to_contain_text("north-west")
    page.get_by_role("button", name="Show all").click()
    save(page, f"graph-{scheme}")
    page.goto(f"{url}/#/tasks")
    expect(page.locator("li.task")).to_have_count(7)
    expect(page.locator("li.task .badge", has_text="planning")).to_have_count(0)
    save(page, f"tasks-{scheme}")
    page.goto(f"{url}/#/{tasks['report']}?view=report")
    expect(page.get_by_role("article", name="Report")).to_contain_text("Sources")
    save(page, f"report-{scheme}")
    context.close()


def save(page: Page, name: str) -> None:
    """The picture of a page as it is. Raises SystemExit if it is too large to be kept."""
    page.evaluate("document.activeElement?.blur()")
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    size_bytes = path.stat().st_size
    print(f"{path.relative_to(ROOT)}: {size_bytes:,} bytes")
    if size_bytes > MAX_BYTES:
        raise SystemExit(f"{path} has {size_bytes} bytes, over the limit of {MAX_BYTES}; show less")


def main() -> None:
    """Take them."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running_suite(Path(folder)) as url:
        tasks = furnish(url)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            for scheme in ("light", "dark"):
                take(browser, url, tasks, scheme)
            browser.close()
        httpx.post(f"{url}/v1/{tasks['digest']}:cancel").raise_for_status()


main()
