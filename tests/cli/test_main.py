"""The command as a process: what it prints, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc, task_pb2
from waybill.core.task import Event, EventType, Failure, TaskState
from waybill.errors import InvalidPlan, NotFound, Violation
from waybill.rpc.conversion import event_to_proto, json_payload
from waybill.rpc.status import to_grpc_status


class Gateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Has the tasks `good` and `bad`, both ended, each with two events."""

    def task(self, name: str, context: Any) -> task_pb2.Task:
        if name not in ("tasks/good", "tasks/bad"):
            context.abort_with_status(to_grpc_status(NotFound(f"there is no task {name}")))
        good = name == "tasks/good"
        return task_pb2.Task(
            name=name,
            goal="why?",
            state=task_pb2.TASK_STATE_SUCCEEDED if good else task_pb2.TASK_STATE_FAILED,
            last_sequence=2,
            output=json_payload(b'{"report":"# Why"}') if good else None,
            failure=None if good else task_pb2.Failure(reason="TIMEOUT", message="too slow"),
        )

    def SubmitTask(self, request: Any, context: Any) -> Any:
        if request.spec.HasField("plan"):
            violations = [Violation("plan.steps[0].agent", "unknown"), Violation("plan.steps[0].after", "unknown")]
            context.abort_with_status(to_grpc_status(InvalidPlan.of(violations)))
        return gateway_pb2.SubmitTaskResponse(task=self.task(f"tasks/{request.spec.goal}", context))

    def GetTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.GetTaskResponse(task=self.task(request.name, context))

    def ListTasks(self, request: Any, context: Any) -> Any:
        return gateway_pb2.ListTasksResponse(tasks=[self.task("tasks/good", context), self.task("tasks/bad", context)])

    def ListSteps(self, request: Any, context: Any) -> Any:
        step = task_pb2.Step(name="tasks/good/steps/a", agent="echo", state=task_pb2.STEP_STATE_SUCCEEDED, attempt=1)
        return gateway_pb2.ListStepsResponse(steps=[step])

    def GetTaskMetrics(self, request: Any, context: Any) -> Any:
        step = task_pb2.StepMetrics(step="a", agent="echo", attempts=1, wait_ms=5, run_ms=1_500)
        return gateway_pb2.GetTaskMetricsResponse(metrics=task_pb2.TaskMetrics(name=request.name, steps=[step]))

    def WatchTask(self, request: Any, context: Any) -> Any:
        good = request.name == "tasks/good"
        failure = None if good else Failure("TIMEOUT", "too slow")
        state = TaskState.SUCCEEDED if good else TaskState.FAILED
        events = [
            Event(type=EventType.TASK_ACCEPTED, sequence=1, time_ms=1, state=TaskState.PLANNING),
            Event(type=EventType.TASK_FINISHED, sequence=2, time_ms=9, state=state, failure=failure, elapsed_ms=8),
        ]
        wanted = [event_to_proto(event) for event in events if event.sequence >= request.from_sequence]
        yield gateway_pb2.WatchTaskResponse(events=wanted)

    def WatchTasks(self, request: Any, context: Any) -> Any:
        names = list(request.names) or ["tasks/good", "tasks/bad"]
        results = [
            task_pb2.TaskResult(task=self.task(name, context), cursor=f"c{at}") for at, name in enumerate(names, 1)
        ]
        yield gateway_pb2.WatchTasksResponse(results=results[1 if request.cursor else 0 :], cursor=f"c{len(names)}")

    def CancelTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.CancelTaskResponse(task=self.task(request.name, context))

    def ListAgents(self, request: Any, context: Any) -> Any:
        agent = task_pb2.Agent(name="agents/echo", description="Says it again.\nAnd more.", live_workers=2)
        return gateway_pb2.ListAgentsResponse(agents=[agent])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(Gateway(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


Waybill = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def waybill(address: str) -> Waybill:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "waybill.cli.main", *arguments, "--address", address]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return call


def test_submit_prints_the_name_and_watch_one_line_an_event(waybill: Waybill) -> None:
    submitted = waybill("submit", "--goal", "good")
    assert (submitted.returncode, submitted.stdout) == (0, "tasks/good\n")
    watched = waybill("watch", submitted.stdout.strip())
    assert watched.returncode == 0
    assert [line.split()[1] for line in watched.stdout.splitlines()] == ["task_accepted", "task_finished"]


def test_events_as_json_lines_are_those_of_http(waybill: Waybill) -> None:
    watched = waybill("submit", "--goal", "bad", "--watch", "--json")
    assert watched.returncode == 1
    assert [json.loads(line) for line in watched.stdout.splitlines()] == [
        {"sequence": 1, "time": "1970-01-01T00:00:00.001Z", "type": "task_accepted", "state": "planning"},
        {
            "sequence": 2,
            "time": "1970-01-01T00:00:00.009Z",
            "type": "task_finished",
            "elapsed_ms": 8,
            "state": "failed",
            "failure": {"reason": "TIMEOUT", "message": "too slow"},
        },
    ]


def test_a_watch_from_after_the_end_still_tells_how_the_task_ended(waybill: Waybill) -> None:
    assert waybill("watch", "good", "--from-sequence", "3").returncode == 0
    assert waybill("watch", "bad", "--from-sequence", "3").returncode == 1


def test_show_list_and_agents_for_people_and_as_json(waybill: Waybill) -> None:
    shown = waybill("show", "good").stdout
    assert "succeeded" in shown
    assert "1.50 s" in shown
    assert shown.endswith("# Why\n")
    task = json.loads(waybill("show", "good", "--json").stdout)
    assert (task["output"], task["steps"][0]["agent"]) == ({"report": "# Why"}, "echo")
    assert task["metrics"]["steps"][0]["run_ms"] == 1_500
    titles, *rows = waybill("list").stdout.splitlines()
    assert titles.split() == ["accepted", "task", "state", "steps", "goal"]
    assert [row.split()[2] for row in rows] == ["good", "bad"]
    listed = waybill("list", "--limit", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["state"] for line in listed] == ["succeeded", "failed"]
    assert "Says it again." in waybill("agents").stdout
    assert json.loads(waybill("agents", "--json").stdout)["live_workers"] == 2
    assert waybill("cancel", "bad").stdout == "tasks/bad failed\n"


def test_refusals_name_what_to_change(waybill: Waybill, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"steps": [{"name": "a", "agent": "x", "after": ["y"]}]}')
    refused = waybill("submit", "--plan", str(tmp_path / "plan.json"))
    assert refused.returncode == 2
    assert "/plan.json:1: steps[0].after: unknown\n" in refused.stderr
    missing = waybill("show", "other")
    assert missing.returncode == 2
    assert missing.stderr.startswith("waybill: there is no task tasks/other; `waybill list`")
    assert waybill("submit").stderr == "waybill: --goal, --plan: give exactly one of them, or --template alone\n"
    assert waybill("list", "--state", "nonsense").returncode == 2


def test_given_no_gateway_then_it_says_how_to_start_one() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        command = [sys.executable, "-m", "waybill.cli.main", "list", "--address", address]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert address in ended.stderr
    assert "`waybill up`" in ended.stderr


def test_up_refuses_a_port_in_use_before_it_starts_anything(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "waybill.cli.main", "up", "--data-dir", str(tmp_path)]
        command += ["--grpc-port", str(taken.getsockname()[1])]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--grpc-port" in ended.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_given_a_signal_when_running_then_everything_stops_and_the_exit_code_says_so(
    tmp_path: Path, number: int, code: int
) -> None:
    command = [sys.executable, "-m", "waybill.cli.main", "run", "--data-dir", str(tmp_path), "--goal", "why?"]
    command += ["--sources", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "starting" in process.stderr.readline()
        process.send_signal(number)
        output, _ = process.communicate()
    assert (process.returncode, output) == (code, "")
    assert not (tmp_path / "suite.json").exists()


def test_results_are_one_line_each_and_the_exit_code_tells_whether_all_went_well(waybill: Waybill) -> None:
    told = waybill("results", "good", "bad")
    assert told.returncode == 1
    good, bad = told.stdout.splitlines()
    assert good.split() == ["tasks/good", "succeeded", '{"report":"#', 'Why"}']
    assert bad.split() == ["tasks/bad", "failed", "TIMEOUT:", "too", "slow"]
    assert waybill("results", "good").returncode == 0


def test_results_as_json_lines_have_cursors_to_go_on_after(waybill: Waybill) -> None:
    told = waybill("results", "--label", "team=x", "--json")
    first, second = map(json.loads, told.stdout.splitlines())
    assert (first["task"]["name"], first["task"]["output"], first["cursor"]) == (
        "tasks/good",
        {"report": "# Why"},
        "c1",
    )
    again = waybill("results", "--label", "team=x", "--json", "--cursor", first["cursor"])
    assert [json.loads(line) for line in again.stdout.splitlines()] == [second]


def test_results_of_names_and_of_a_filter_are_not_mixed(waybill: Waybill) -> None:
    told = waybill("results", "good", "--label", "team=x")
    assert (told.returncode, "TASK" in told.stderr) == (2, True)
