"""The commands that steer and operate: what they send, what they print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent import futures
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from waybill.api.v1 import gateway_pb2, gateway_pb2_grpc, task_pb2
from waybill.cli.main import app
from waybill.errors import FailedPrecondition
from waybill.rpc.conversion import json_payload
from waybill.rpc.status import to_grpc_status

STEP = "tasks/t1/steps/a"


class Gateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Answers everything that operators ask, remembers it, and lets nobody steer the task `ended`."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def _task(self, request: Any, context: Any, state: task_pb2.TaskState.ValueType) -> task_pb2.Task:
        self.seen.append(request)
        if request.name == "tasks/ended":
            context.abort_with_status(to_grpc_status(FailedPrecondition("it has ended")))
        return task_pb2.Task(name=request.name, state=state)

    def CancelTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.CancelTaskResponse(task=self._task(request, context, task_pb2.TASK_STATE_CANCELLING))

    def PauseTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.PauseTaskResponse(task=self._task(request, context, task_pb2.TASK_STATE_PAUSED))

    def ResumeTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.ResumeTaskResponse(task=self._task(request, context, task_pb2.TASK_STATE_RUNNING))

    def RetryTask(self, request: Any, context: Any) -> Any:
        return gateway_pb2.RetryTaskResponse(task=self._task(request, context, task_pb2.TASK_STATE_RUNNING))

    def RetryTasks(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        page = int(request.page_token or 0)
        return gateway_pb2.RetryTasksResponse(names=[f"tasks/p{page}"], next_page_token="1" if page == 0 else "")

    def AnswerStep(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        step = task_pb2.Step(name=request.name, state=task_pb2.STEP_STATE_SUCCEEDED, output=request.answer)
        return gateway_pb2.AnswerStepResponse(step=step)

    def ListTasks(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.ListTasksResponse()

    def SubmitTask(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.SubmitTaskResponse(task=task_pb2.Task(name="tasks/t1", state=task_pb2.TASK_STATE_PLANNING))

    def GetTask(self, request: Any, context: Any) -> Any:
        task = task_pb2.Task(name=request.name, state=task_pb2.TASK_STATE_FAILED, template="daily", archived=True)
        return gateway_pb2.GetTaskResponse(task=task)

    def ListSteps(self, request: Any, context: Any) -> Any:
        failed = task_pb2.Step(name=STEP, agent="echo", state=task_pb2.STEP_STATE_FAILED, attempt=1)
        asks = task_pb2.Step(name="tasks/t1/steps/b", state=task_pb2.STEP_STATE_WAITING, attempt=0)
        asks.question.prompt = "Shall it be sent?"
        return gateway_pb2.ListStepsResponse(steps=[failed, asks])

    def GetTaskMetrics(self, request: Any, context: Any) -> Any:
        return gateway_pb2.GetTaskMetricsResponse(metrics=task_pb2.TaskMetrics(name=request.name))

    def _attempt(self) -> task_pb2.Attempt:
        attempt = task_pb2.Attempt(attempt=1, state=task_pb2.STEP_STATE_FAILED, worker="worker-7", run_ms=1_500)
        attempt.failure.reason = "AGENT_ERROR"
        attempt.usage.input_tokens = 9
        return attempt

    def ListAttempts(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.ListAttemptsResponse(attempts=[self._attempt()])

    def ListEffects(self, request: Any, context: Any) -> Any:
        effect = task_pb2.Effect(step=STEP, key="mail", state=task_pb2.EFFECT_STATE_UNKNOWN, attempt=2)
        return gateway_pb2.ListEffectsResponse(effects=[effect])

    def ResolveEffect(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        effect = task_pb2.Effect(step=request.step, key=request.key, state=request.state, attempt=2)
        if request.HasField("result"):
            effect.result.CopyFrom(request.result)
        return gateway_pb2.ResolveEffectResponse(effect=effect)

    def _letter(self) -> task_pb2.DeadLetter:
        letter = task_pb2.DeadLetter(name="deadLetters/t1.1", step=STEP, agent="echo", deaths=3)
        letter.failure.reason = "WORKER_LOST"
        return letter

    def ListDeadLetters(self, request: Any, context: Any) -> Any:
        return gateway_pb2.ListDeadLettersResponse(dead_letters=[self._letter()])

    def GetDeadLetter(self, request: Any, context: Any) -> Any:
        letter = self._letter()
        letter.attempts.append(self._attempt())
        letter.input.CopyFrom(json_payload(b'{"n":5}'))
        return gateway_pb2.GetDeadLetterResponse(dead_letter=letter)

    def RetryDeadLetter(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        task = task_pb2.Task(name="tasks/t1", state=task_pb2.TASK_STATE_RUNNING)
        return gateway_pb2.RetryDeadLetterResponse(task=task)

    def DropDeadLetter(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.DropDeadLetterResponse()

    def ListAgents(self, request: Any, context: Any) -> Any:
        return gateway_pb2.ListAgentsResponse(agents=[task_pb2.Agent(name="agents/echo", paused=True)])

    def PauseAgent(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.PauseAgentResponse(agent=task_pb2.Agent(name=request.name, paused=True))

    def ResumeAgent(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.ResumeAgentResponse(agent=task_pb2.Agent(name=request.name))

    def PauseTenant(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.PauseTenantResponse(tenant=task_pb2.Tenant(name="acme", paused=True))

    def ResumeTenant(self, request: Any, context: Any) -> Any:
        self.seen.append(request)
        return gateway_pb2.ResumeTenantResponse(tenant=task_pb2.Tenant(name="acme"))


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


Waybill = Callable[..., Any]


@pytest.fixture
def waybill(gateway: Gateway) -> Iterator[Waybill]:
    """Runs a command in this process."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(gateway, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    def call(*arguments: str, stdin: str = "") -> Any:
        return CliRunner().invoke(app, [*arguments, "--address", address], input=stdin)

    yield call
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("verb", "state"), [("cancel", "cancelling"), ("pause", "paused"), ("resume", "running"), ("retry", "running")]
)
def test_a_task_is_steered_and_its_state_printed(waybill: Waybill, gateway: Gateway, verb: str, state: str) -> None:
    ran = waybill(verb, "t1")
    assert (ran.exit_code, ran.stdout) == (0, f"tasks/t1 {state}\n")
    assert json.loads(waybill(verb, "tasks/t1", "--request-id", "mine", "--json").stdout)["state"] == state
    assert [request.name for request in gateway.seen] == ["tasks/t1"] * 2
    assert gateway.seen[0].request_id
    assert gateway.seen[1].request_id == "mine"
    refused = waybill(verb, "ended")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("waybill: it has ended; `waybill show TASK`")


def test_many_tasks_are_retried_and_their_names_printed(waybill: Waybill, gateway: Gateway) -> None:
    options = ("--failed", "--label", "team=ops", "--agent", "echo", "--template", "daily")
    ran = waybill("retry", *options, "--since", "2026-01-01T00:00:00Z", "--until", "2026-01-02T00:00:00+00:00")
    assert (ran.exit_code, ran.stdout) == (0, "tasks/p0\ntasks/p1\n")
    assert "retried 2 tasks" in ran.stderr
    wanted = gateway.seen[0].filter
    assert list(wanted.states) == [task_pb2.TASK_STATE_FAILED]
    assert (dict(wanted.labels), wanted.agent, wanted.template) == ({"team": "ops"}, "echo", "daily")
    assert wanted.create_time_from.ToJsonString() == "2026-01-01T00:00:00Z"
    assert wanted.create_time_until.ToJsonString() == "2026-01-02T00:00:00Z"
    assert gateway.seen[0].request_id == gateway.seen[1].request_id
    lines = waybill("retry", "--cancelled", "--failed", "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [{"name": "tasks/p0"}, {"name": "tasks/p1"}]
    for wrong in ((), ("t1", "--failed"), ("--label", "a=b"), ("--failed", "--since", "x")):
        assert waybill("retry", *wrong).exit_code == 2
    assert len(gateway.seen) == 4


def test_a_listing_sends_its_filter(waybill: Waybill, gateway: Gateway) -> None:
    before = datetime.now(UTC).timestamp()
    assert waybill("list", "--state", "paused", "--since", "2h", "--label", "a=b", "--template", "x").exit_code == 0
    wanted = gateway.seen[0].filter
    assert (list(wanted.states), dict(wanted.labels), wanted.template) == ([7], {"a": "b"}, "x")
    assert before - 7_201 <= wanted.create_time_from.seconds <= datetime.now(UTC).timestamp() - 7_200


def test_submit_sends_deadline_and_template(waybill: Waybill, gateway: Gateway) -> None:
    assert waybill("submit", "--goal", "g", "--deadline", "1h30m", "--template", "daily").stdout == "tasks/t1\n"
    spec = gateway.seen[0].spec
    assert (spec.deadline_ms, spec.template) == (5_400_000, "daily")
    refused = waybill("submit", "--goal", "g", "--deadline", "soon")
    assert refused.exit_code == 2
    assert "--deadline" in refused.stderr


def test_an_answer_is_json_as_typed_or_read(waybill: Waybill, gateway: Gateway) -> None:
    assert waybill("answer", "t1", "a", '{"big": 18446744073709551617}').stdout == f"{STEP} succeeded\n"
    assert json.loads(waybill("answer", "t1", "a", "-", "--json", stdin="[1, 2]").stdout)["output"] == [1, 2]
    assert [request.answer.data for request in gateway.seen] == [b'{"big": 18446744073709551617}', b"[1, 2]"]
    refused = waybill("answer", "t1", "a", "yes")
    assert refused.exit_code == 2
    assert "is not JSON" in refused.stderr


def test_show_prints_attempts_and_what_a_step_asks(waybill: Waybill) -> None:
    shown = waybill("show", "t1", "--attempts").stdout
    assert "worker-7" in shown
    assert "1.50 s" in shown
    assert "9 tokens in" in shown
    assert "AGENT_ERROR" in shown
    assert "Shall it be sent?" in shown
    assert "template daily" in shown
    assert "worker-7" not in waybill("show", "t1").stdout
    steps = json.loads(waybill("show", "t1", "--attempts", "--json").stdout)["steps"]
    assert [[attempt["worker"] for attempt in step["attempts"]] for step in steps] == [["worker-7"], []]
    assert steps[1]["question"] == {"prompt": "Shall it be sent?"}


def test_a_watch_of_an_archived_task_says_how_it_ended(waybill: Waybill) -> None:
    watched = waybill("watch", "t1")
    assert (watched.exit_code, watched.stdout) == (1, "")
    assert "archive" in watched.stderr


def cells_of(table: str) -> list[str]:
    """The rows of a table below its titles, without the space between the cells."""
    return [" ".join(line.split()) for line in table.splitlines()[1:]]


def test_effects_are_listed_and_decided(waybill: Waybill, gateway: Gateway) -> None:
    assert cells_of(waybill("effect", "list", "t1").stdout) == ["a mail unknown 2"]
    assert json.loads(waybill("effect", "list", "t1", "--json").stdout)["state"] == "unknown"
    done = waybill("effect", "resolve", "t1", "a", "mail", "--done", "--result", '{"id":5}')
    assert cells_of(done.stdout) == ['a mail done 2 {"id":5}']
    assert cells_of(waybill("effect", "resolve", "t1", "a", "mail", "--failed").stdout) == ["a mail failed 2"]
    assert [request.step for request in gateway.seen] == [STEP, STEP]
    for wrong in ((), ("--done", "--failed"), ("--failed", "--result", "1"), ("--done", "--result", "x")):
        assert waybill("effect", "resolve", "t1", "a", "mail", *wrong).exit_code == 2
    assert len(gateway.seen) == 2


def test_dead_letters_are_listed_shown_retried_and_dropped(waybill: Waybill, gateway: Gateway) -> None:
    assert "t1.1 t1/a echo 3 WORKER_LOST" in cells_of(waybill("dead", "list").stdout)[0]
    assert json.loads(waybill("dead", "list", "--json").stdout)["deaths"] == 3
    shown = waybill("dead", "show", "t1.1").stdout
    assert "worker-7" in shown
    assert '{"n":5}' in shown
    assert json.loads(waybill("dead", "show", "t1.1", "--json").stdout)["input"] == {"n": 5}
    assert waybill("dead", "retry", "t1.1").stdout == "tasks/t1 running\n"
    assert waybill("dead", "drop", "deadLetters/t1.1", "--request-id", "r").stdout == "deadLetters/t1.1 dropped\n"
    assert [request.name for request in gateway.seen] == ["deadLetters/t1.1"] * 2
    assert gateway.seen[1].request_id == "r"


def test_agents_and_the_tenant_are_paused_and_resumed(waybill: Waybill, gateway: Gateway) -> None:
    assert cells_of(waybill("agents").stdout) == ["echo 0 0 0 paused"]
    assert waybill("agents", "pause", "echo").stdout == "agents/echo paused\n"
    assert waybill("agents", "resume", "echo").stdout == "agents/echo running\n"
    assert waybill("tenant", "pause").stdout == "acme paused\n"
    assert json.loads(waybill("tenant", "resume", "--json").stdout) == {"name": "acme", "paused": False}
    assert all(request.request_id for request in gateway.seen)
