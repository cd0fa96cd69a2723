"""Every RPC of every service, with any message, any bytes and any metadata: refused clearly or done, never broken."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from fuzz_calls import Answer, Metadata, call, metadata, methods_of, spoiled
from fuzz_messages import messages
from fuzz_store import Contents, contents, furnish, quiet_contents
from fuzz_suite import Service, Suite, running_suite
from google.protobuf import descriptor as pb
from google.protobuf import message_factory
from hypothesis import event, given
from hypothesis import strategies as st

BROKEN = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
"""With everything up, no call may end so."""
METHODS = [(kind, method.name) for kind in ("gateway", "dispatcher", "planner") for method in methods_of(kind)]


@dataclass
class Target:
    """A suite, what can be named in it, and what its store held after the last call."""

    suite: Suite
    known: list[str]
    held: Contents


@pytest.fixture(scope="module")
def target(quiet: Suite) -> Target:
    """The quiet suite with tasks in every state."""
    known = asyncio.run(furnish(quiet))
    with closing(quiet.client()) as client:
        return Target(quiet, known, quiet_contents(client))


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_any_call_is_done_or_refused_and_a_refused_one_changes_nothing(target: Target, kind: str, name: str) -> None:
    suite, method = target.suite, next(method for method in methods_of(kind) if method.name == name)

    @given(calls_of(method, target.known))
    def holds(sent: tuple[bytes, Metadata]) -> None:
        answer = call(suite.services[kind], method, *sent)
        event(answer.code.name)
        check(answer, method)
        with closing(suite.client()) as client:
            if answer.code is grpc.StatusCode.OK:
                target.held = quiet_contents(client)
                return
            now = contents(client)
        changed = {key for key in target.held.keys() | now.keys() if target.held.get(key) != now.get(key)}
        target.held = now
        assert not changed, f"a refused call changed {changed}: {answer}"

    holds()
    suite.assert_serving()


def test_a_worker_takes_any_call(tmp_path: Path) -> None:
    with running_suite(tmp_path, "worker") as suite:
        worker = suite.services["worker"]
        for method in methods_of("worker"):
            takes_any_call(worker, method)
        assert worker.process.poll() is None, worker.tail()


def takes_any_call(service: Service, method: pb.MethodDescriptor) -> None:
    @given(calls_of(method, []))
    def holds(sent: tuple[bytes, Metadata]) -> None:
        check(call(service, method, *sent), method)

    holds()


@st.composite
def calls_of(draw: st.DrawFn, method: pb.MethodDescriptor, known: list[str]) -> tuple[bytes, Metadata]:
    """A body, one in five of them spoiled, and metadata."""
    body = draw(messages(method.input_type, known)).SerializeToString()
    return draw(spoiled(body)) if draw(st.integers(0, 4)) == 4 else body, draw(metadata())


def check(answer: Answer, method: pb.MethodDescriptor) -> None:
    """An answer in the contract's words, whose messages are of the method's type."""
    assert answer.code not in BROKEN, answer
    assert "Traceback" not in answer.details
    response = message_factory.GetMessageClass(method.output_type)
    for message in answer.messages:
        response.FromString(message)
