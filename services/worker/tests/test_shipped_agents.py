"""The agents that ship, in real workers on a real ledger: also when those are killed in the middle."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import psutil
import pytest
from model_answers import Behaviour, Request
from model_server import ModelServer
from test_model_processes import configured
from waybill_worker.sandbox.folder import PREFIX
from worker_models import assert_accounted
from worker_process import Process, StartProcess
from worker_tasks import ended, step, steps_of, submit
from worker_web import Web, answer

from waybill.agent import AgentDefinition, load_agents
from waybill.core.task import EffectState, TaskState
from waybill.ledger.ledger import Ledger

NAMES = ("analyst", "writer", "llm", "http", "python")
MODULES = [f"waybill_worker.agents.{name}" for name in NAMES]
TEXT = "A kettle is a vessel that boils water. Kettles are made of steel."
PASSAGES = [{"path": "a.md", "line": 3, "text": TEXT}]


@pytest.fixture
def shipped() -> dict[str, AgentDefinition]:
    """The agents."""
    return load_agents(MODULES, entry_points=False)


def configuration(folder: Path, server: ModelServer, **more: str) -> dict[str, str]:
    return {**configured(folder, server), "WAYBILL_WORKER_AGENTS": ",".join(MODULES), **more}


def saying(request: Request) -> Behaviour:
    """An analyst's claim where a form is asked for, else a writer's text."""
    if request.schema is not None:
        quotes = [{"passage": 1, "quote": "a vessel that boils water"}]
        return Behaviour(text=json.dumps({"claims": [{"text": "Kettles boil water.", "quotes": quotes}]}))
    return Behaviour(text="Kettles boil water, as sources say. [1]\n\nThey are lovely.")


async def test_given_a_question_when_the_worker_dies_while_it_writes_then_the_report_is_whole_and_all_is_accounted(
    start_process: StartProcess,
    live_ledger: Ledger,
    shipped: dict[str, AgentDefinition],
    server: ModelServer,
    tmp_path: Path,
) -> None:
    def stuck(request: Request) -> Behaviour:
        usual = saying(request)
        return usual if request.schema is not None else Behaviour(text=usual.text, fault="stall", after_chunks=3)

    server.rule = stuck
    question = {"question": "What boils water?", "passages": PASSAGES}
    write = {"goal": "Kettles", "sections": ["${analyse}"]}
    task_id = await submit(
        live_ledger, shipped, step("analyse", "analyst", question), step("write", "writer", write, after=["analyse"])
    )
    environment = configuration(tmp_path, server)
    process = start_process(**environment)
    async with asyncio.timeout(60):
        while not any(event.text for event in await live_ledger.events(task_id, 1, 1_000)):
            assert process.popen.poll() is None, process.log.read_text()
            await asyncio.sleep(0.02)

    process.popen.send_signal(signal.SIGKILL)
    server.rule = saying
    start_process(**environment)
    task = await ended(live_ledger, task_id)
    await assert_accounted(live_ledger, server, task_id)

    assert task.state is TaskState.SUCCEEDED
    report = json.loads((await steps_of(live_ledger, task_id))["write"].output)
    assert report["sources"] == [{"n": 1, "path": "a.md", "line": 3, "quote": "a vessel that boils water"}]
    assert "Kettles boil water, as sources say. [1]" in report["report"]
    assert re.search(r"They are lovely\. \*\*\[unsupported\]\*\*", report["report"])
    last = [event.text for event in await live_ledger.events(task_id, 1, 1_000) if event.attempt == 2 and event.text]
    assert "".join(last).strip() == saying(server.requests[-1]).text


def snippets() -> list[psutil.Process]:
    """The processes of snippets on this machine that belong to this test."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any("waybill_worker.sandbox.inside" in word for word in words):
            found.append(process)
    return found


async def inside(worker: Process) -> list[psutil.Process]:
    """The processes of snippets below a worker, once there are any."""
    async with asyncio.timeout(60):
        while True:
            assert worker.popen.poll() is None, worker.log.read_text()
            below = {process.pid for process in worker.family()}
            if found := [process for process in snippets() if process.pid in below]:
                return found
            await asyncio.sleep(0.02)


async def test_given_a_snippet_when_its_worker_is_killed_then_it_dies_too_and_runs_again_until_cancelled(
    start_process: StartProcess,
    live_ledger: Ledger,
    shipped: dict[str, AgentDefinition],
    server: ModelServer,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment = configuration(tmp_path, server, TMPDIR=str(folder))
    task_id = await submit(
        live_ledger, shipped, step("run", "python", {"code": "import time\nwhile True: time.sleep(1)"})
    )
    first = start_process(**environment)
    orphans = await inside(first)

    first.popen.send_signal(signal.SIGKILL)
    _, alive = await asyncio.to_thread(psutil.wait_procs, orphans, 30)
    assert not alive
    again = await inside(start_process(**environment))
    left_behind = [name for name in folder.iterdir() if name.name.startswith(PREFIX)]
    assert len(left_behind) == 1, "the folder of the killed worker is swept up, that of the snippet is there"

    await live_ledger.cancel(task_id)

    assert (await ended(live_ledger, task_id)).state is TaskState.CANCELLED
    _, alive = await asyncio.to_thread(psutil.wait_procs, again, 30)
    assert not alive


async def test_given_posts_when_their_worker_is_killed_before_the_answer_then_only_what_may_be_repeated_is(
    start_process: StartProcess,
    live_ledger: Ledger,
    shipped: dict[str, AgentDefinition],
    server: ModelServer,
    tmp_path: Path,
) -> None:
    environment = configuration(tmp_path, server, WAYBILL_WORKER_HTTP_ALLOWED_NETWORKS="127.0.0.1")
    async with Web(lambda asked: answer(201), hangs=True) as web:
        task_id = await submit(
            live_ledger,
            shipped,
            step("post", "http", {"url": web.url("/post"), "method": "POST", "data": {"n": 1}}),
        )
        other_id = await submit(live_ledger, shipped, step("put", "http", {"url": web.url("/put"), "method": "PUT"}))
        first = start_process(**environment)
        async with asyncio.timeout(60):
            while len(web.asked) < 2:
                assert first.popen.poll() is None, first.log.read_text()
                await asyncio.sleep(0.02)

        first.popen.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.popen.wait)
        web.hangs = False
        start_process(**environment)
        task, other = await ended(live_ledger, task_id), await ended(live_ledger, other_id)

    assert (task.state, other.state) == (TaskState.FAILED, TaskState.SUCCEEDED)
    posted = (await steps_of(live_ledger, task_id))["post"]
    assert posted.failure is not None
    assert posted.failure.reason == "EFFECT_UNKNOWN"
    assert sorted(asked.target for asked in web.asked) == ["/post", "/put", "/put"]
    assert len({asked.headers["idempotency-key"] for asked in web.asked if asked.target == "/put"}) == 1
    assert [one.effect.state for one in await live_ledger.effects(task_id)] == [EffectState.UNKNOWN]


@pytest.mark.parametrize("name", ["WAYBILL_WORKER_HTTP_ALLOWED_NETWORKS", "WAYBILL_WORKER_PYTHON_AGENT"])
async def test_given_a_setting_that_does_not_fit_when_a_worker_starts_then_it_ends_and_names_it(
    start_process: StartProcess, server: ModelServer, tmp_path: Path, name: str
) -> None:
    process = start_process(**configuration(tmp_path, server, **{name: "no such thing"}))

    assert await process.exit_code() != 0
    assert name.removeprefix("WAYBILL_WORKER_").lower() in process.log.read_text()
