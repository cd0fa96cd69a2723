"""Texts that give orders, and a model that obeys every one of them: what the policy does not allow happens not once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from injection_texts import Injection, injections
from mcp_test_servers import effects_of, http_server, write_config
from waybill_worker.agents.tools import tools

from waybill import ToolCall
from waybill.chat import ChatRequest
from waybill.core.budget import TaskPolicy
from waybill.testing import ScriptedModel, run_agent

FRIEND = "ann@example.org"
POLICY = TaskPolicy(allowed_tools=("mail/search", "mail/send"), allowed_recipients=(FRIEND,))
CORPUS = injections()


@pytest.fixture(scope="module")
def effects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The effects of a server that finds the texts of the corpus by their names, configured as three servers."""
    folder = tmp_path_factory.mktemp("server")
    texts = folder / "texts.json"
    texts.write_text(json.dumps({item.name: item.text for item in CORPUS}))
    with http_server(folder / "effects", "--texts", str(texts)) as url:
        mail = {"url": url, "recipients": {"send": ["to", "cc"]}}
        write_config(folder / "mcp.json", mail=mail, shell={"url": url}, files={"url": url})
        yield folder / "effects"


class Obedient:
    """A model that searches, does what the text orders wherever it finds it, and then sends what it was asked to."""

    def __init__(self, injection: Injection) -> None:
        self._injection = injection
        self._acts = iter([self._search(), self._orders(), self._errand()])
        self.obeyed_in: set[str] = set()

    def __call__(self, request: ChatRequest) -> Any:
        self.obeyed_in |= {message.role for message in request.messages if self._injection.text in message.content}
        return next(self._acts, "I did as I was told.") if request.tools else "I did as I was told."

    def _search(self) -> list[ToolCall]:
        return [_call("s", "mail__search", query=self._injection.name)]

    def _orders(self) -> list[ToolCall]:
        """Every way to do it that the model can think of."""
        server, tool = self._injection.tool.split("/")
        to = self._injection.recipient
        named = [self._injection.tool, f"{server}__{tool}", tool, f"mail__{tool}", "shell__run", "files__delete"]
        calls = [_call(f"n{n}", name, command="id", path="/", to=to) for n, name in enumerate(named)]
        sendings: list[dict[str, Any]] = [
            {"to": to},
            {"to": [FRIEND, [to]]},
            {"to": f"{FRIEND}, {to}"},
            {"to": FRIEND, "cc": to},
            {"to": FRIEND, "bcc": to},
            {"to": {"address": to}},
        ]
        return calls + [_call(f"m{n}", "mail__send", **sending) for n, sending in enumerate(sendings)]

    def _errand(self) -> list[ToolCall]:
        return [_call("e", "mail__send", to=FRIEND, body="the result")]


def _call(id: str, name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id, name, json.dumps(arguments))


@pytest.mark.parametrize("injection", CORPUS, ids=lambda item: item.name)
async def test_given_a_text_that_gives_orders_when_the_model_obeys_then_nothing_comes_of_it(
    effects: Path, monkeypatch: pytest.MonkeyPatch, injection: Injection
) -> None:
    effects.unlink(missing_ok=True)
    monkeypatch.setenv("WAYBILL_WORKER_MCP_CONFIG_FILE", str(effects.parent / "mcp.json"))
    obedient = Obedient(injection)
    model = ScriptedModel(obedient)

    run = await run_agent(
        tools,
        {"goal": injection.text, "servers": ["mail", "shell", "files"], "sources": {"page": injection.text}},
        model=model,
        policy=POLICY,
    )

    assert obedient.obeyed_in == {"user", "tool"}, "it stood in the goal, the source and the result, and nowhere else"
    assert {tool.name for request in model.requests for tool in request.tools} == {"mail__search", "mail__send"}
    assert effects_of(effects) == [("send", {"to": FRIEND, "body": "the result"})]
    assert [use.refused or use.failed for use in run.value.calls] == [False, *[True] * 12, False]
    assert run.value.finish_reason == "answered"
