"""What the campaign submits: one scenario for each number and seed, always the same, with what must come of it."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from waybill.agent import Context
from waybill.client import Client
from waybill.core.budget import BudgetAction
from waybill.core.task import Document, Priority, TaskState

SUCCEEDS = frozenset({TaskState.SUCCEEDED})
FAILS = frozenset({TaskState.FAILED})
MODEL_REASONS = frozenset({"BUDGET_EXHAUSTED", "MODEL_UNAVAILABLE", "OUTPUT_INVALID", "MODEL_OUTPUT_CUT"})
"""Why a step that asks a model may fail: no money, no answer, or none that will do."""
ANY = object()
"""The output is not foretold."""

ONCE = hasattr(Context, "once")
PAUSES = hasattr(Client, "pause")
RETRIES = hasattr(Client, "retry")
ANSWERS = hasattr(Client, "answer")
DEADLINES = "deadline_ms" in inspect.signature(Client.submit).parameters

NOTES = Document(
    "notes.md", "text/markdown", b"# Waybill\n\nA ledger keeps the state of every task.\n\nA worker runs agents.\n"
)


@dataclass(frozen=True)
class Scenario:
    """A submission and its promise: how the task may end and what it returns if it succeeds. `effects` promises that
    no step has its effect twice; `unknown_allowed` that an effect may end as unknown, and its task as failed."""

    name: str
    plan: Mapping[str, Any] | None = None
    goal: str = ""
    ends: frozenset[TaskState] = SUCCEEDS
    output: Any = ANY
    priority: Priority = Priority.NORMAL
    documents: tuple[Document, ...] = ()
    unknown_allowed: bool = False
    cancel_after_seconds: float | None = None
    pause_after_seconds: float | None = None
    pause_seconds: float = 0.0
    mend: Path | None = None
    answer: Any = None
    deadline_ms: int = 0
    budget_microusd: int = 0
    on_limit: BudgetAction = BudgetAction.STOP
    amount: int = 0
    """What a tool is to pay, once."""
    reasons: frozenset[str] = frozenset()
    """Why the task may fail, besides."""
    labels: Mapping[str, str] = field(default_factory=dict)


Maker = Callable[[random.Random], Scenario]


def scenario(seed: int, number: int, folder: Path) -> Scenario:
    """Scenario number `number` of a seed. `folder` is where agents look for files that mend them."""
    rng = random.Random(f"scenario:{seed}:{number}")
    makers = [maker for maker, weight in _makers(folder, number) for _ in range(weight)]
    return rng.choice(makers)(rng)


def _makers(folder: Path, number: int) -> list[tuple[Maker, int]]:
    makers: list[tuple[Maker, int]] = [
        (_chain, 5),
        (_fan, 4),
        (_diamond, 4),
        (_flaky, 3),
        (_failing, 2),
        (_late, 1),
        (_stream, 3),
        (_goal, 2),
    ]
    makers += [(_cancelled, 2), (_blocking, 2), (_long, 2)]
    makers += [(_talking, 3), (lambda rng: _paying(rng, 1_000_000 + number), 2), (_talk_cancelled, 1)]
    if ONCE:
        makers += [(_effects, 4), (_reconciled, 2)]
    if PAUSES:
        makers.append((_paused, 2))
    if RETRIES:
        makers.append((lambda rng: _mended(rng, folder / f"mended-{number}"), 2))
    if ANSWERS:
        makers += [(_answered, 1), (_unanswered, 1), (_going_on, 1)]
    if DEADLINES:
        makers.append((_overdue, 1))
    return makers


def _step(name: str, agent: str, after: tuple[str, ...] = (), **input: Any) -> dict[str, Any]:
    return {"name": name, "agent": agent, "input": input, "after": list(after)}


def _taking(step: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The step, with the time that it takes if its agent takes time."""
    if step["agent"] == "slow":
        step["input"]["seconds"] = seconds
    return step


def _chain(rng: random.Random) -> Scenario:
    length = rng.randint(2, 6)
    steps = [_step("s0", "echo", value=[0])]
    for at in range(1, length):
        step = _step(f"s{at}", rng.choice(["echo", "slow"]), value=f"${{s{at - 1}}}")
        steps.append(_taking(step, rng.uniform(0.0, 0.4)))
    return Scenario("chain", {"steps": steps}, output=[0], priority=rng.choice(list(Priority)))


def _fan(rng: random.Random) -> Scenario:
    width = rng.randint(3, 12)
    steps = [_step("root", "echo", value=1)]
    for at in range(width):
        step = _step(f"w{at}", rng.choice(["echo", "slow"]), value=at, after=("root",))
        steps.append(_taking(step, rng.uniform(0.0, 0.3)))
    steps.append(_step("join", "add", values=[f"${{w{at}}}" for at in range(width)]))
    return Scenario("fan", {"steps": steps}, output=sum(range(width)))


def _diamond(rng: random.Random) -> Scenario:
    steps = [
        _step("top", "echo", value=rng.randint(1, 9)),
        _step("left", "slow", seconds=rng.uniform(0.0, 0.5), value="${top}"),
        _step("right", "flaky", failures=rng.randint(0, 1), value="${top}"),
        _step("bottom", "add", values=["${left}", "${right}"]),
    ]
    steps[2]["retry"] = {"initial_backoff_ms": 100}
    return Scenario("diamond", {"steps": steps}, output=2 * steps[0]["input"]["value"])


def _flaky(rng: random.Random) -> Scenario:
    step = _step("only", "flaky", failures=rng.randint(1, 2), value="done")
    step["retry"] = {"max_attempts": 3, "initial_backoff_ms": rng.randint(0, 400)}
    return Scenario("flaky", {"steps": [step]}, output="done")


def _failing(rng: random.Random) -> Scenario:
    steps = [
        _step("first", "echo", value=1),
        _step("bad", "hopeless", after=("first",)),
        _step("beside", "slow", seconds=rng.uniform(0.2, 1.0), after=("first",)),
        _step("never", "echo", after=("bad", "beside")),
    ]
    return Scenario("failing", {"steps": steps}, ends=FAILS)


def _late(rng: random.Random) -> Scenario:
    step = _step("late", "slow", seconds=60.0)
    step |= {"run_timeout_ms": rng.randint(100, 400), "retry": {"max_attempts": 2, "initial_backoff_ms": 50}}
    return Scenario("late", {"steps": [step]}, ends=FAILS)


def _stream(rng: random.Random) -> Scenario:
    words = rng.randint(5, 40)
    step = _step("talk", "stream", words=words, seconds=rng.uniform(0.1, 1.5))
    return Scenario("stream", {"steps": [step]}, output="".join(f"word{number} " for number in range(words)))


def _goal(rng: random.Random) -> Scenario:
    goal = f"What keeps the state of task {rng.randint(1, 99)}?"
    return Scenario("goal", goal=goal, documents=(NOTES,), reasons=MODEL_REASONS)


def _talking(rng: random.Random) -> Scenario:
    """Steps that ask a model, side by side, under one budget that may or may not do."""
    width = rng.randint(1, 6)
    agents = ["talker", "talker", "child-talker"]
    steps = [_step(f"t{at}", rng.choice(agents), words=rng.randint(3, 60)) for at in range(width)]
    for step in steps:
        step["retry"] = {"max_attempts": 6, "initial_backoff_ms": 100}
    return Scenario(
        "talking",
        {"steps": steps},
        budget_microusd=rng.choice([2_500, 6_000, 20_000, 200_000]),
        on_limit=rng.choice([BudgetAction.STOP, BudgetAction.CHEAPER_MODEL]),
        reasons=MODEL_REASONS,
    )


def _talk_cancelled(rng: random.Random) -> Scenario:
    made = _talking(rng)
    ends = frozenset({TaskState.CANCELLED, TaskState.SUCCEEDED})
    return replace(made, name="talk cancelled", ends=ends, cancel_after_seconds=rng.uniform(0.0, 1.0))


def _paying(rng: random.Random, amount: int) -> Scenario:
    """A model with a tool whose effect must not happen twice."""
    step = _step("pay", "tools", goal=f"pay {amount}", servers=["books"], tools=["books/pay"])
    step["retry"] = {"max_attempts": 6, "initial_backoff_ms": 100}
    return Scenario(
        "paying",
        {"steps": [step]},
        ends=SUCCEEDS | FAILS,
        budget_microusd=500_000,
        amount=amount,
        unknown_allowed=True,
        reasons=MODEL_REASONS,
    )


def _blocking(rng: random.Random) -> Scenario:
    steps = [_step("hold", "blocking", seconds=rng.uniform(0.0, 0.8), value=3), _step("end", "echo", value="${hold}")]
    return Scenario("blocking", {"steps": steps}, output=3)


def _long(rng: random.Random) -> Scenario:
    step = _step("long", "slow", seconds=rng.uniform(1.0, 3.0), value="at last")
    return Scenario("long", {"steps": [step]}, output="at last")


def _cancelled(rng: random.Random) -> Scenario:
    steps = [_step("first", rng.choice(["slow", "blocking"]), seconds=rng.uniform(0.2, 2.0))]
    steps.append(_step("second", "echo", after=("first",)))
    ends = frozenset({TaskState.CANCELLED, TaskState.SUCCEEDED})
    return Scenario("cancelled", {"steps": steps}, ends=ends, cancel_after_seconds=rng.uniform(0.0, 1.0))


def _effects(rng: random.Random) -> Scenario:
    values = [1, "${do0}", "${do1}"][: rng.randint(1, 3)]
    agents = ["effect", "effect", "blocking-effect"]
    steps = [
        _step(f"do{at}", rng.choice(agents), seconds=rng.uniform(0.0, 0.6), value=value)
        for at, value in enumerate(values)
    ]
    return Scenario("effects", {"steps": steps}, ends=SUCCEEDS | FAILS, output=1, unknown_allowed=True)


def _reconciled(rng: random.Random) -> Scenario:
    step = _step("do", "reconciled", seconds=rng.uniform(0.0, 0.6), value=1)
    return Scenario("reconciled", {"steps": [step]}, ends=SUCCEEDS | FAILS, output=1, unknown_allowed=True)


def _paused(rng: random.Random) -> Scenario:
    made = _chain(rng)
    return Scenario(
        "paused",
        made.plan,
        output=made.output,
        pause_after_seconds=rng.uniform(0.0, 0.4),
        pause_seconds=rng.uniform(0.1, 2.0),
    )


def _mended(rng: random.Random, switch: Path) -> Scenario:
    steps = [
        _step("first", "echo", value=5),
        _step("second", "mended", switch=str(switch), value="${first}"),
        _step("third", "echo", value="${second}"),
    ]
    return Scenario("mended", {"steps": steps}, output=5, mend=switch)


def _answered(rng: random.Random) -> Scenario:
    answer = rng.randint(1, 99)
    steps = [
        _step("first", "slow", seconds=rng.uniform(0.0, 0.3)),
        {"name": "ask", "question": {"prompt": "How many?", "timeout_ms": 600_000}, "after": ["first"]},
        _step("end", "add", values=["${ask}", 1]),
    ]
    return Scenario("answered", {"steps": steps}, output=answer + 1, answer=answer)


def _unanswered(rng: random.Random) -> Scenario:
    question = {"prompt": "How many?", "timeout_ms": rng.randint(50, 1_000), "default_answer": 7}
    steps = [{"name": "ask", "question": question}, _step("end", "echo", value="${ask}")]
    return Scenario("unanswered", {"steps": steps}, output=7)


def _going_on(rng: random.Random) -> Scenario:
    steps = [
        _step("bad", "hopeless"),
        _step("never", "echo", after=("bad",)),
        _step("beside", "slow", seconds=rng.uniform(0.1, 0.6)),
        _step("after", "echo", value="${beside}"),
    ]
    return Scenario("going on", {"steps": steps, "failure_policy": "continue"}, ends=FAILS)


def _overdue(rng: random.Random) -> Scenario:
    steps = [_step("slow", "slow", seconds=60.0), _step("never", "echo", after=("slow",))]
    return Scenario("overdue", {"steps": steps}, ends=FAILS, deadline_ms=rng.randint(200, 1_500))
