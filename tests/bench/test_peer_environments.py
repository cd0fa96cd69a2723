"""Environments are made once, and one that cannot be made says why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from peer_environments import NotInstalled, Peer, known_peers


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    """A peer that needs nothing."""
    (tmp_path / "fake_peer.py").write_text("print('here')")
    (tmp_path / "fake.txt").write_text("")
    (tmp_path / "shared.py").write_text("")
    (found,) = known_peers(tmp_path, tmp_path / "environments")
    return found


def test_an_environment_runs_its_peers_script_and_has_nothing_of_ours(peer: Peer) -> None:
    peer.install()
    assert subprocess.run([peer.python, peer.script], capture_output=True, text=True).stdout == "here\n"
    assert subprocess.run([peer.python, "-I", "-c", "import waybill"], capture_output=True).returncode == 1


def test_an_environment_is_made_again_only_when_what_it_needs_has_changed(peer: Peer) -> None:
    peer.install()
    mark = peer.environment / "mark"
    mark.touch()
    peer.install()
    assert mark.exists()
    (peer.folder / "fake.txt").write_text("# something else\n")
    peer.install()
    assert not mark.exists()


def test_a_peer_that_cannot_be_installed_says_why_and_is_tried_again(peer: Peer) -> None:
    requirements = peer.folder / "fake.txt"
    requirements.write_text("./no-such-folder\n")
    with pytest.raises(NotInstalled, match="no-such-folder"):
        peer.install()
    with pytest.raises(NotInstalled, match="no-such-folder"):
        peer.install()
    requirements.write_text("")
    peer.install()
    assert peer.python.exists()
