"""Plan templates: files of a folder, read again when they change. A file that will not do is told in the log and left
out, so that it takes no other with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from threading import Lock

import msgspec

from waybill.api.v1 import planner_pb2, task_pb2
from waybill.core.limits import MIB, TEMPLATE_NAME
from waybill.core.template import Template
from waybill.core.violations import closest, listing, shown
from waybill.errors import InvalidArgument, NotFound
from waybill.plan_file import Fault, PlanFileInvalid
from waybill.telemetry.logs import get_logger
from waybill.template_file import expanded, read_template_file

MAX_TEMPLATES = 200
"""Most files of the folder that are read; a list of so many fits into one message."""
MAX_TEMPLATE_BYTES = 8 * MIB
SUFFIXES = frozenset({".yaml", ".yml", ".json"})
COLLECTION = "templates/"
MISSING = "TEMPLATE_NOT_FOUND"

log = get_logger(__name__)

Stamp = tuple[int, int, int, int]
"""What changes when a file does: inode, times of the last changes to it and of its rights in ns, size."""


@dataclass(frozen=True)
class _Read:
    stamp: Stamp
    template: Template | None


class Templates:
    """The templates of a folder; none without one. Its methods read files, and may be called from any thread."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._files: dict[Path, _Read] = {}
        self._told: frozenset[str] = frozenset()
        self._lock = Lock()

    def describe(self, request: planner_pb2.DescribeTemplatesRequest) -> planner_pb2.DescribeTemplatesResponse:
        """All templates by name, or the one named with its plan. Raises `NotFound`."""
        templates = self._current()
        if not request.name:
            return planner_pb2.DescribeTemplatesResponse(templates=map(_message, templates.values()))
        template = self._named(request.name.removeprefix(COLLECTION), templates)
        message = _message(template)
        message.plan = msgspec.json.encode(template.plan).decode()
        return planner_pb2.DescribeTemplatesResponse(templates=[message])

    def expand(self, request: planner_pb2.ExpandTemplateRequest) -> planner_pb2.ExpandTemplateResponse:
        """The plan of a template. Raises `NotFound`, and `InvalidArgument` for parameters that do not fit."""
        template = self._named(request.template, self._current())
        return planner_pb2.ExpandTemplateResponse(plan=expanded(template, request.parameters.data))

    def _named(self, name: str, templates: Mapping[str, Template]) -> Template:
        if name not in templates:
            is_name = TEMPLATE_NAME.fullmatch(name) is not None
            hint = f"{closest(name, templates) if is_name else ''}; known templates: {listing(templates)}"
            raise NotFound(f"there is no template {shown(name)}{hint}", reason=MISSING)
        return templates[name]

    def _current(self) -> Mapping[str, Template]:
        """The templates by name, as the folder is now. Of two with one name the file that comes first is used."""
        if self._folder is None:
            return {}
        with self._lock:
            problems: set[str] = set()
            stamps = _stamps(self._folder, problems)
            self._files = {path: self._read(path, stamp) for path, stamp in stamps.items()}
            templates: dict[str, Template] = {}
            for path, read in self._files.items():
                if read.template is None:
                    continue
                if templates.setdefault(read.template.name, read.template) is not read.template:
                    problems.add(f"{path.name} is left out: a file before it holds template {read.template.name} too")
            for problem in sorted(problems - self._told):
                log.error("template unusable", error=problem)
            self._told = frozenset(problems)
            return dict(sorted(templates.items()))

    def _read(self, path: Path, stamp: Stamp) -> _Read:
        known = self._files.get(path)
        if known is not None and known.stamp == stamp:
            return known
        try:
            return _Read(stamp, _template(path, size_bytes=stamp[-1]))
        except PlanFileInvalid as error:
            first = error.faults[0]
            log.error("template unusable", file=path.name, line=first.line, field=first.field, error=first.description)
        except InvalidArgument as error:
            log.error("template unusable", file=path.name, error=error.message)
        except OSError as error:
            log.error("template unusable", file=path.name, error=error.strerror)
        return _Read(stamp, None)


def _stamps(folder: Path, problems: set[str]) -> dict[Path, Stamp]:
    """The folder's files in the order of their names, and what changes when they do."""
    try:
        named = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name[0] != ".")
    except OSError as error:
        problems.add(f"the folder of templates cannot be read: {error.strerror}")
        return {}
    if len(named) > MAX_TEMPLATES:
        problems.add(f"there are {len(named)} files, and those after the first {MAX_TEMPLATES} are left out")
    stamps: dict[Path, Stamp] = {}
    for path in named[:MAX_TEMPLATES]:
        try:
            status = path.stat()
        except OSError as error:
            problems.add(f"{path.name} is left out: {error.strerror}")
            continue
        if S_ISREG(status.st_mode):
            stamps[path] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    return stamps


def _template(path: Path, size_bytes: int) -> Template:
    if size_bytes > MAX_TEMPLATE_BYTES:
        problem = f"has {size_bytes} bytes, over the limit of {MAX_TEMPLATE_BYTES}"
        raise PlanFileInvalid(path.name, [Fault(1, "", problem)])
    return read_template_file(path.read_bytes(), path.name)


def _message(template: Template) -> task_pb2.Template:
    return task_pb2.Template(
        name=COLLECTION + template.name,
        description=template.description,
        parameters_schema=template.parameters_schema,
    )
