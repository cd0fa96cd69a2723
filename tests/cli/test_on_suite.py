"""The command line against a real suite: each error with its next step, each exit code, JSON, and what Tab offers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port

from waybill.cli import exits

ECHO = '{"steps": [{"name": "say", "agent": "echo", "input": {"value": "${task.input}"}}]}'
REFUSE = '{"steps": [{"name": "no", "agent": "refuse", "input": {"why": "not today"}}]}'
ASK = '{"steps": [{"name": "ask", "question": {"prompt": "Go on?", "answer_schema": {"type": "boolean"}}}]}'


def submitted(suite: Any, plan: str, *options: str) -> str:
    """The name of a new task."""
    ran = suite.waybill("submit", "--plan", "-", *options, stdin=plan)
    assert ran.exit_code == exits.OK, ran.stderr
    return str(ran.stdout.strip())


REFUSALS = {
    "no gateway there": (["list", "--address", "127.0.0.1:1"], 3, ("127.0.0.1:1", "`waybill up`", "--address")),
    "address without a port": (["list", "--address", "localhost"], 2, ("--address", "'localhost'", "HOST:PORT")),
    "tenant that is none": (["list", "--tenant", "a b"], 2, ("--tenant", "1 to 64")),
    "unknown task": (["show", "nope"], 2, ("no task nope", "`waybill list`", "--tenant")),
    "task of another tenant": (["show", "TASK", "--tenant", "other"], 2, ("no task", "`waybill list`", "--tenant")),
    "unknown dead letter": (["dead", "show", "nope"], 2, ("deadLetters/nope", "`waybill dead list`")),
    "unknown agent": (["agents", "pause", "nope"], 2, ("agent nope", "`waybill agents`")),
    "wrong state": (["cancel", "TASK"], 2, ("it is succeeded", "`waybill show TASK`")),
    "neither goal nor plan": (["submit"], 2, ("--goal", "--plan", "exactly one")),
    "plan that is no file": (["submit", "--plan", "nope.json"], 2, ("--plan", "nope.json", "cannot be read")),
    "plan that is no JSON": (["submit", "--plan", "broken.json"], 2, ("broken.json:1", "not JSON")),
    "plan with unknown agent": (["submit", "--plan", "unknown.json"], 2, ("steps[0].agent", "'nope'", "known agents")),
    "input that is no JSON": (["submit", "--plan", "echo.json", "--input", "{"], 2, ("--input", "not JSON")),
    "label that is none": (["submit", "--goal", "x", "--label", "a"], 2, ("--label", "'a'", "key=value")),
    "time that is none": (["list", "--since", "yesterday"], 2, ("--since", "'yesterday'", "2026-11-24T09:30")),
    "span that is none": (["submit", "--goal", "x", "--deadline", "5"], 2, ("--deadline", "'5'", "90s")),
    "money that is none": (["budget", "set", "--day-usd", "x"], 2, ("--day-usd", "'x'", "5.00")),
    "day that is none": (["usage", "--from", "1"], 2, ("--from", "2026-11-24")),
    "limit that is none": (["limits", "set", "x", "--concurrency", "1"], 2, ("LIMIT", "agent:writer")),
    "request id that is none": (["submit", "--goal", "x", "--request-id", "a b"], 2, ("--request-id", "1 to 128")),
    "request id of another": (["submit", "--goal", "x", "--request-id", "mine"], 2, ("request_id", "--request-id out")),
    "state that is none": (["list", "--state", "nope"], 2, ("--state", "'nope'", "succeeded")),
    "command that is none": (["lst"], 2, ("'lst'", "'list'")),
    "option that is none": (["list", "--labels", "a=b"], 2, ("--labels", "--label")),
    "data directory in use": (["up", "--grpc-port", "0", "--http-port", "0"], 2, ("another suite", "--data-dir")),
    "data directory that cannot be": (["up", "--data-dir", "/proc/no"], 2, ("--data-dir", "/proc/no", "choose")),
    "agents that do not load": (
        ["up", "--agents", "broken_agents", "--data-dir", "d", "--grpc-port", "0", "--http-port", "0"],
        2,
        ("--agents", "broken_agents", "line 1", "SyntaxError"),
    ),
    "module without agents": (
        ["up", "--agents", "no_agents", "--data-dir", "d", "--grpc-port", "0", "--http-port", "0"],
        2,
        ("--agents", "no_agents", "defines no agent", "@waybill.agent"),
    ),
    "result of an unknown task": (["results", "nope"], 2, ("nope", "`waybill list`")),
    "cursor that is none": (["results", "--cursor", "x"], 2, ("cursor",)),
    "unknown schedule": (["schedule", "show", "nope"], 2, ("nope", "`waybill schedule list`")),
    "unknown template": (["templates", "show", "nope"], 2, ("nope", "`waybill templates`")),
    "template that is unknown": (["submit", "--template", "nope"], 2, ("nope", "`waybill templates`")),
    "parameter that is none": (["submit", "--template", "nope", "--param", "a"], 2, ("--param", "'a'", "name=value")),
    "cron that is none": (
        ["schedule", "create", "a", "--goal", "x", "--cron", "x"],
        2,
        ("--cron", "'x'", "five fields"),
    ),
    "no cron and no interval": (["schedule", "create", "a", "--goal", "x"], 2, ("--cron", "--every")),
    "start that is none": (["submit", "--goal", "x", "--start-at", "soon"], 2, ("--start-at", "'soon'", "+2h")),
    "agents that are nowhere": (["up", "--agents", "no_such_module"], 2, ("--agents", "no_such_module", "installed")),
}


@pytest.fixture(scope="module")
def task(suite: Any) -> str:
    """A task that has succeeded under the request id `mine`, and files that the refusals name."""
    (suite.folder / "broken.json").write_text("{")
    (suite.folder / "broken_agents.py").write_text("def broken(:")
    (suite.folder / "no_agents.py").write_text("x = 1")
    (suite.folder / "echo.json").write_text(ECHO)
    (suite.folder / "unknown.json").write_text('{"steps": [{"name": "a", "agent": "nope"}]}')
    name = submitted(suite, ECHO, "--request-id", "mine", "--input", "5")
    assert suite.waybill("watch", name).exit_code == exits.OK
    return name


@pytest.mark.parametrize("case", REFUSALS)
def test_each_refusal_names_the_thing_and_the_next_step(suite: Any, task: str, case: str) -> None:
    arguments, code, told = REFUSALS[case]
    ran = suite.waybill(*(task if argument == "TASK" else argument for argument in arguments))
    assert ran.exit_code == code, ran.stderr
    assert ran.stdout == ""
    assert [words for words in told if words not in ran.stderr] == [], ran.stderr
    assert isinstance(ran.exception, SystemExit)


def test_given_the_port_of_something_else_then_it_says_that_the_grpc_port_is_wanted(suite: Any) -> None:
    ran = suite.waybill("list", "--address", suite.http.removeprefix("http://"))
    assert ran.exit_code == exits.UNAVAILABLE
    assert "gRPC port" in ran.stderr


def test_a_task_that_fails_or_is_cancelled_ends_its_watch_with_one(suite: Any) -> None:
    failed = suite.waybill("watch", submitted(suite, REFUSE))
    assert (failed.exit_code, "not today" in failed.stdout) == (exits.FAILED, True)
    asking = submitted(suite, ASK)
    assert suite.waybill("cancel", asking).exit_code == exits.OK
    assert suite.waybill("watch", asking).exit_code == exits.FAILED


def lines_of(ran: Any) -> list[Any]:
    """What was printed, each line decoded."""
    assert ran.exit_code == exits.OK, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_what_reads_prints_json_one_object_a_line(suite: Any, task: str) -> None:
    asking = submitted(suite, ASK)
    for arguments, least in (
        (["list"], 2),
        (["show", task], 1),
        (["agents"], 2),
        (["limits", "set", "agent:echo", "--concurrency", "9"], 1),
        (["limits", "list"], 1),
        (["limits", "remove", "agent:echo"], 1),
        (["budget", "set", "--total-usd", "5"], 1),
        (["budget", "show"], 1),
        (["usage"], 1),
        (["calls", task], 0),
        (["effect", "list", task], 0),
        (["dead", "list"], 0),
        (["tenant", "pause"], 1),
        (["tenant", "resume"], 1),
        (["agents", "pause", "refuse"], 1),
        (["agents", "resume", "refuse"], 1),
        (["pause", asking], 1),
        (["resume", asking], 1),
        (["answer", asking, "ask", "true"], 1),
        (["watch", asking], 3),
        (["results", task, asking], 2),
        (["version"], 1),
        (["schedule", "create", "hourly", "--goal", "x", "--every", "1h"], 1),
        (["schedule", "update", "hourly", "--goal", "y", "--every", "2h"], 1),
        (["schedule", "list"], 1),
        (["schedule", "show", "hourly"], 1),
        (["schedule", "pause", "hourly"], 1),
        (["schedule", "resume", "hourly"], 1),
        (["schedule", "trigger", "hourly"], 1),
        (["schedule", "delete", "hourly"], 1),
        (["templates"], 0),
        (["plan", "check", "echo.json"], 1),
        (["plan", "show", "echo.json"], 1),
    ):
        lines = lines_of(suite.waybill(*arguments, "--json"))
        assert len(lines) >= least, arguments
        assert [line for line in lines if not isinstance(line, dict)] == [], arguments


def test_a_task_is_submitted_for_every_line_and_again_under_the_same_request_ids_none(suite: Any, task: str) -> None:
    many = ("submit", "--plan", "echo.json", "--inputs", "-", "--request-id", "many")
    first = suite.waybill(*many, stdin='1\n\n{"a": "b"}\n')
    again = suite.waybill(*many, "--json", stdin='1\n\n{"a": "b"}\n"new"')
    assert (first.exit_code, again.exit_code) == (exits.OK, exits.OK), first.stderr
    names = first.stdout.split()
    told = [json.loads(line) for line in again.stdout.splitlines()]
    assert [(each["name"], each["line"]) for each in told[:2]] == list(zip(names, (1, 3), strict=True))
    assert (len(told), told[2]["line"]) == (3, 4)
    assert suite.waybill("watch", names[1], "--result").stdout == '{\n  "a": "b"\n}\n'


def test_given_a_line_that_is_refused_then_the_others_are_accepted_and_it_is_named(suite: Any, task: str) -> None:
    many = ("submit", "--plan", "echo.json", "--inputs", "-", "--request-id", "some")
    assert suite.waybill(*many, stdin="1\n").exit_code == exits.OK
    ran = suite.waybill(*many, stdin="2\n3\n")
    assert (ran.exit_code, len(ran.stdout.split())) == (exits.USAGE, 1)
    assert "waybill: line 1: request_id was used before" in ran.stderr
    assert "submitted 1 task, 1 refused" in ran.stderr


@pytest.mark.parametrize(
    ("options", "stdin", "told"),
    [
        (("--plan", "echo.json"), "1\n{\n", "stdin:2: is not JSON"),
        (("--plan", "echo.json"), " \n", "one JSON value a line"),
        (("--goal", "x"), "1", "--plan or --template"),
        ((), "1", "exactly one of them"),
        (("--plan", "echo.json", "--input", "1"), "1", "give one of them"),
        (("--plan", "-"), "1", "stdin"),
        (("--plan", "echo.json", "--watch"), "1", "waybill results"),
    ],
)
def test_given_inputs_that_cannot_be_then_nothing_is_submitted(
    suite: Any, task: str, options: tuple[str, ...], stdin: str, told: str
) -> None:
    before = suite.waybill("list", "--limit", "200").stdout
    ran = suite.waybill("submit", *options, "--inputs", "-", stdin=stdin)
    assert (ran.exit_code, told in ran.stderr) == (exits.USAGE, True), ran.stderr
    assert suite.waybill("list", "--limit", "200").stdout == before


def test_tables_have_a_line_a_row_and_no_colour_where_no_terminal_is(suite: Any, task: str) -> None:
    for arguments in (["list"], ["agents"], ["show", task, "--attempts"]):
        shown = suite.waybill(*arguments).stdout
        assert "\x1b" not in shown
        assert [line for line in shown.splitlines() if line != line.rstrip()] == []
    rows = [line.split() for line in suite.waybill("list").stdout.splitlines()]
    assert next(row[3] for row in rows if task.removeprefix("tasks/") in row) == "succeeded"


def offered(suite: Any, *words: str, **environment: str) -> list[str]:
    """What bash offers after these words."""
    asked = {"_WAYBILL_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(("waybill", *words))}
    ran = suite.waybill(**{**asked, "COMP_CWORD": str(len(words)), **environment})
    assert (ran.exit_code, ran.stderr) == (exits.OK, "")
    return list(ran.stdout.split())


def test_tab_offers_tasks_steps_agents_and_states(suite: Any, task: str) -> None:
    task_id = task.removeprefix("tasks/")
    assert task_id in offered(suite, "show", task_id[:3])
    assert task in offered(suite, "cancel", "tasks/")
    assert offered(suite, "answer", task_id, "sa") == ["say"]
    assert offered(suite, "agents", "pause", "ec") == ["echo"]
    assert offered(suite, "list", "--state", "succ") == ["succeeded"]


def test_given_no_gateway_then_tab_offers_nothing_and_stays_silent(suite: Any, tmp_path: Path) -> None:
    assert offered(suite, "show", "", WAYBILL_ADDRESS=f"127.0.0.1:{free_port()}") == []
    assert offered(suite, "agents", "pause", "", WAYBILL_ADDRESS="no address") == []


def test_every_documented_exit_code_but_those_of_signals_was_met(suite: Any) -> None:
    met = {exits.OK, exits.FAILED, *(code for _, code, _ in REFUSALS.values())}
    assert set(exits.MEANINGS) - met == {exits.INTERRUPTED, exits.TERMINATED}
