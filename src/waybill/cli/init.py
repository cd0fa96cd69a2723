"""Owns `waybill init`: a small project of the user's own that runs, and passes its test, at once."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from waybill.cli import exits
from waybill.cli.gateway import json_line
from waybill.errors import InvalidArgument

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_MAX_NAME_CHARS = 40
_FILES = {
    "README.md": "README.md.template",
    "@module@.py": "agents.py.template",
    "plan.yaml": "plan.yaml.template",
    "test_@module@.py": "test.py.template",
    "pyproject.toml": "pyproject.toml.template",
    "Dockerfile": "Dockerfile.template",
    ".dockerignore": "dockerignore.template",
    ".gitignore": "gitignore.template",
}
"""What a project consists of, and which template each file is made from."""


async def init(folder: Path, name: str, *, as_json: bool) -> int:
    """Write the project and say what to do next. Raises as `write_project`."""
    project = write_project(folder, name)
    if as_json:
        print(json_line(asdict(project)))
    else:
        print("\n".join(_next_steps(project, folder)))
    return exits.OK


@dataclass(frozen=True)
class Project:
    """What was written."""

    name: str
    module: str
    folder: str
    files: tuple[str, ...]


def write_project(folder: Path, name: str) -> Project:
    """Write the project into a folder, which is made if it is missing; without a name it gets that of the folder.

    Raises `InvalidArgument` for a name that cannot be one, a folder that cannot be written to, and files that are
    there already: nothing is ever overwritten.
    """
    name = _checked_name(name or _name_of(folder), folder)
    files = _rendered(name)
    _write(folder, files)
    return Project(name, _module_of(name), str(folder), tuple(files))


def _next_steps(project: Project, folder: Path) -> Iterator[str]:
    yield f"{project.name} is written: {', '.join(project.files)}"
    yield "Next:"
    if folder.resolve() != Path.cwd():
        yield f"  cd {folder}"
    yield "  python -m pytest -q   # tests the agents and the plan"
    yield "  waybill up            # runs the suite with them; README.md tells what to do then"


def _name_of(folder: Path) -> str:
    """The name that a folder gives its project."""
    return re.sub(r"[\s_.]+", "-", folder.resolve().name.lower())


def _module_of(name: str) -> str:
    return name.replace("-", "_")


def _checked_name(name: str, folder: Path) -> str:
    if len(name) > _MAX_NAME_CHARS or not _NAME.fullmatch(name):
        told = (
            f"{name!r} is no name of a project: use at most {_MAX_NAME_CHARS} of a-z, 0-9 and single -, a letter first"
        )
        raise InvalidArgument.of_field("--name", told)
    module = _module_of(name)
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or _is_installed(module, folder):
        raise InvalidArgument.of_field("--name", f"Python knows a module {module} already: choose another name")
    return name


def _is_installed(module: str, folder: Path) -> bool:
    """Whether Python finds a module of this name elsewhere than in the folder."""
    found = importlib.util.find_spec(module)
    return found is not None and Path(found.origin or "").parent != folder.resolve()


def _rendered(name: str) -> Mapping[str, str]:
    """The files of the project: text by path."""
    templates = resources.files("waybill.cli") / "new_project"

    def filled(text: str) -> str:
        return text.replace("@name@", name).replace("@module@", _module_of(name))

    return {filled(path): filled((templates / source).read_text(encoding="utf-8")) for path, source in _FILES.items()}


def _write(folder: Path, files: Mapping[str, str]) -> None:
    there = [path for path in files if (folder / path).exists()]
    if there:
        told = f"{folder.absolute()} has {', '.join(there)} already, and nothing is overwritten: choose another folder"
        raise InvalidArgument.of_field("DIR", told)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            with (folder / path).open("x", encoding="utf-8") as file:  # never over a file that came in between
                file.write(text)
    except OSError as error:
        raise InvalidArgument.of_field("DIR", f"{folder} cannot be written to: {error.strerror}") from error
