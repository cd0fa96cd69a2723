"""The operator's file of MCP servers: what it may say, and that it tells nobody what stands in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from waybill_worker.agents.tools import tools
from waybill_worker.agents.tools_config import ConfigInvalid, ToolServers


def load(path: Path, servers: Any, **environment: str) -> ToolServers:
    path.write_text(json.dumps({"mcpServers": servers}))
    return ToolServers.load(path, environment)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mcp.json"


def test_given_the_usual_file_when_read_then_variables_are_put_in(file: Path) -> None:
    servers = load(
        file,
        {
            "mail": {"command": "${BIN}/mail", "args": ["--key", "${KEY}"], "env": {"TOKEN": "${KEY}"}},
            "web": {"type": "http", "url": "https://x.org/mcp", "headers": {"Authorization": "Bearer ${KEY}"}},
        },
        BIN="/opt",
        KEY="s3cret-key",
    )

    mail, web = servers.get("mail"), servers.get("web")
    assert mail is not None
    assert web is not None
    assert (mail.command, mail.args, mail.env) == ("/opt/mail", ("--key", "s3cret-key"), {"TOKEN": "s3cret-key"})
    assert web.headers == {"Authorization": "Bearer s3cret-key"}
    assert servers.names == ("mail", "web")


def test_given_secrets_when_a_server_repeats_them_then_they_are_blotted_out(file: Path) -> None:
    servers = load(
        file,
        {"a": {"url": "http://x/", "headers": {"X-Key": "in-the-file", "Authorization": "Bearer ${KEY}"}}},
        KEY="s3cret-key",
    )

    assert servers.blot("s3cret-key, Bearer s3cret-key, in-the-file, other") == "***, ***, ***, other"


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        ({"a": {}}, "either a command or a url"),
        ({"a": {"command": "x", "url": "http://x/"}}, "either a command or a url"),
        ({"a": {"command": "x", "recipient": {"send": ["to"]}}}, "mcpServers.a.recipient: Extra inputs"),
        ({"a": {"command": "x", "recipients": {"send": "to"}}}, "mcpServers.a.recipients.send"),
        ({"a": {"command": "x", "timeout_seconds": 0}}, "mcpServers.a.timeout_seconds"),
        ({"a": {"command": "x", "headers": {"a": "b"}}}, "headers go with a url"),
        ({"a": {"url": "http://x/", "env": {"a": "b"}}}, "go with a command"),
        ({"a": {"url": "ftp://x/"}}, "http or https"),
        ({"a": {"url": "http://x/", "type": "sse"}}, "mcpServers.a.type: the transport sse"),
        ({"a": {"url": "http://x/", "type": "stdio"}}, "the type does not fit"),
        (
            {"a": {"command": "x", "args": ["${MISSING}"]}},
            "mcpServers.a.args.0: the environment has no variable MISSING",
        ),
        ({"a/b": {"command": "x"}}, "mcpServers"),
        ([], "mcpServers"),
    ],
)
def test_given_a_file_that_will_not_do_when_read_then_the_error_names_the_field(
    file: Path, servers: Any, problem: str
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(file, servers)

    assert str(file) in str(caught.value)
    assert problem in str(caught.value)


def test_given_secrets_in_a_file_that_will_not_do_when_read_then_the_error_does_not_tell_them(file: Path) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(
            file,
            {"a": {"command": "${KEY}", "args": "${KEY}", "env": {"T": 5}, "cwd": ["literal-secret"]}},
            KEY="s3cret",
        )

    assert "s3cret" not in str(caught.value)
    assert "literal-secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"servers": {}}', b"\xff\xfe", b'{"mcpServers": {"a": 5}}'])
def test_given_a_file_of_another_form_when_read_then_it_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(ConfigInvalid):
        ToolServers.load(file, {})


def test_given_the_files_of_the_howto_when_read_then_they_will_do(file: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "howto" / "tools.md").read_text()
    config, plan = re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    file.write_text(config)

    servers = ToolServers.load(file, {"NOTES_KEY": "a-key", "MAIL_TOKEN": "a-token"})

    (step,) = json.loads(plan)["steps"]
    given = tools.parse_input(json.dumps(step["input"]).encode())
    assert set(given["servers"]) <= set(servers.names)
    assert {name.split("/")[0] for name in given["tools"]} <= set(servers.names)


def test_given_no_such_file_when_read_then_the_error_says_so(file: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no such file"):
        ToolServers.load(file, {})


def test_given_no_file_in_the_environment_when_read_then_there_are_no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYBILL_WORKER_MCP_CONFIG_FILE", raising=False)

    assert ToolServers.from_environment().names == ()
