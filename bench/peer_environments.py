"""Makes an environment for each peer, from what its files in `peers/` pin: `.venv-bench/<peer>`.

`<peer>.txt` are Python requirements; `<peer>.npm` are npm packages, one `name@version` a line, for peers that run a
server of their own. An environment is made again only when these files change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from measurement import say

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "bench" / "peers"
ENVIRONMENTS = ROOT / ".venv-bench"
INSTALL_SECONDS = 900
_TOLD_LINES = 5


class NotInstalled(Exception):
    """A peer cannot be installed here; the text says why."""


@dataclass(frozen=True)
class Peer:
    """A peer: its name, its script, and where its environment is or will be."""

    name: str
    folder: Path = PEERS
    environments: Path = ENVIRONMENTS

    @property
    def script(self) -> Path:
        """What measures it."""
        return self.folder / f"{self.name}_peer.py"

    @property
    def environment(self) -> Path:
        """The folder of its environment."""
        return self.environments / self.name

    @property
    def python(self) -> Path:
        """The Python that runs its script."""
        return self.environment / "bin" / "python"

    def install(self) -> None:
        """Make the environment if it is not there as its files say. Raises `NotInstalled`."""
        requirements, packages = self.folder / f"{self.name}.txt", self.folder / f"{self.name}.npm"
        told = b"".join(file.read_bytes() for file in (requirements, packages) if file.exists())
        digest, stamp = hashlib.sha256(told).hexdigest(), self.environment / "installed"
        if stamp.exists() and stamp.read_text() == digest:
            return
        say(f"installing {self.name} ...")
        uv = self._uv()
        shutil.rmtree(self.environment, ignore_errors=True)
        self._run(uv, "venv", "-q", "--python", sys.executable, str(self.environment))
        if requirements.exists():
            self._run(uv, "pip", "install", "-q", "--python", str(self.python), "-r", str(requirements))
        if packages.exists():
            npm = shutil.which("npm")
            if npm is None:
                raise NotInstalled(f"{self.name} needs npm, which is not installed")
            names = packages.read_text().split()
            self._run(npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(self.environment), *names)
        stamp.write_text(digest)

    @staticmethod
    def _uv() -> str:
        beside = Path(sys.executable).parent / "uv"
        found = str(beside) if beside.exists() else shutil.which("uv")
        if found is None:
            raise NotInstalled("uv is not installed: run this through `make bench`")
        return found

    def _run(self, *command: str) -> None:
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        try:
            ran = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotInstalled(f"installing took over {INSTALL_SECONDS} seconds") from None
        if ran.returncode:
            told = (ran.stderr or ran.stdout).strip().splitlines()[-_TOLD_LINES:]
            raise NotInstalled("\n".join(told) or f"{command[0]} ended with {ran.returncode}")


def known_peers(folder: Path = PEERS, environments: Path = ENVIRONMENTS) -> list[Peer]:
    """The peers that have a script."""
    names = sorted(path.name.removesuffix("_peer.py") for path in folder.glob("*_peer.py"))
    return [Peer(name, folder, environments) for name in names]
