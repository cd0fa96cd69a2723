"""Owns which agents of the user's own `waybill up` runs: those named, or those of the project in this folder."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waybill.errors import InvalidArgument

ENTRY_POINT_GROUP = "waybill.agents"
_LOAD = "import sys; from waybill.agent import load_agents; load_agents(sys.argv[1:], entry_points=False)"
_SHOWN_LINES = 8
"""How much of what Python says about a module is shown: the place and the reason stand at its end."""


@dataclass(frozen=True)
class OwnAgents:
    """Modules with agents, the folders in which Python finds them, and what said so."""

    modules: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    told_by: str = ""

    def environment(self) -> dict[str, str]:
        """What workers need beside their own settings to load these agents, after those that are set already."""
        if not self.modules:
            return {}
        known = [name.strip() for name in os.environ.get("WAYBILL_WORKER_AGENTS", "").split(",") if name.strip()]
        path = [*map(str, self.folders), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "WAYBILL_WORKER_AGENTS": ",".join(dict.fromkeys([*known, *self.modules])),
            "PYTHONPATH": os.pathsep.join(path),
        }


def named_agents(typed: Sequence[str], folder: Path) -> OwnAgents:
    """The modules that `--agents a,b` names, found from this folder or installed.

    Raises `InvalidArgument` for a module that is nowhere.
    """
    modules = tuple(dict.fromkeys(name.strip() for value in typed for name in value.split(",") if name.strip()))
    return _checked(OwnAgents(modules, _folders(folder), "--agents"), "--agents")


def project_agents(folder: Path) -> OwnAgents:
    """The agents that the `pyproject.toml` of this folder announces; none without one.

    Raises `InvalidArgument` if that file is broken or names a module that is nowhere.
    """
    path = folder / "pyproject.toml"
    if not path.is_file():
        return OwnAgents()
    try:
        project = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidArgument.of_field(
            "pyproject.toml", f"cannot be read ({error}): mend it, or name --agents"
        ) from None
    announced = _announced(project)
    if not announced:
        return OwnAgents()
    return _checked(OwnAgents(announced, _folders(folder), "pyproject.toml"), "pyproject.toml")


async def check_that_it_loads(own: OwnAgents) -> None:
    """Load the agents once, in a process of its own, as workers will; a worker could only die of what is wrong.

    Raises `InvalidArgument` with what Python says.
    """
    if not own.modules:
        return
    loading = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _LOAD, *own.modules),
        env={**os.environ, **own.environment()},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, told = await loading.communicate()
    finally:
        if loading.returncode is None:  # Ctrl-C came first
            loading.kill()
            await loading.wait()
    if loading.returncode:
        lines = told.decode(errors="replace").strip().splitlines()
        why = "\n".join(lines[-_SHOWN_LINES:]) or f"exit code {loading.returncode}"
        raise InvalidArgument.of_field(own.told_by, f"{', '.join(own.modules)} cannot be loaded:\n{why}")


def _announced(project: Any) -> tuple[str, ...]:
    """The modules of the entry points in a project file, each once."""
    for key in ("project", "entry-points", ENTRY_POINT_GROUP):
        project = project.get(key) if isinstance(project, dict) else None
    points = project.values() if isinstance(project, dict) else ()
    return tuple(dict.fromkeys(point.split(":")[0].strip() for point in points if isinstance(point, str)))


def _folders(folder: Path) -> tuple[Path, ...]:
    sources = folder / "src"
    return (sources.absolute(), folder.absolute()) if sources.is_dir() else (folder.absolute(),)


def _checked(own: OwnAgents, field: str) -> OwnAgents:
    before = list(sys.path)
    sys.path[:0] = map(str, own.folders)
    try:
        for module in own.modules:
            if not _exists(module):
                where = " or ".join(map(str, own.folders))
                raise InvalidArgument.of_field(
                    field, f"there is no module {module}: it is neither installed nor in {where}"
                )
    finally:
        sys.path[:] = before
    return own


def _exists(module: str) -> bool:
    """Whether Python finds the module. Of a dotted name only the outermost package is looked for, and not imported."""
    if not all(part.isidentifier() for part in module.split(".")):
        return False
    try:
        return importlib.util.find_spec(module.split(".")[0]) is not None
    except (ImportError, ValueError):
        return False
