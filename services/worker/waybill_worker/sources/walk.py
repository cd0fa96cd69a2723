"""Finding the files that a task's paths name: one file, or all below a folder, in a stable order, each once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from waybill_worker.sources.files import (
    MAX_FILE_BYTES,
    TOO_LARGE,
    FileState,
    look,
    open_folder,
    state_of,
)
from waybill_worker.sources.ignoring import IGNORED, Ignoring, Verdict, above
from waybill_worker.sources.roots import LEADS_OUT, Place, Refusal, Roots

MAX_FILES = 5_000
MAX_TOTAL_BYTES = 4 * MAX_FILE_BYTES
MAX_ENTRIES = 50_000
MAX_FOLDER_DEPTH = 32
SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
"""Folders that hold what others wrote or what was generated; hidden ones are skipped besides."""

TOO_MANY_FILES = f"left out, over {MAX_FILES:,} files are too many"
TOO_MANY_BYTES = f"left out, over {MAX_TOTAL_BYTES // 1024**2} MiB in all are too much"
TOO_DEEP = f"left out, over {MAX_FOLDER_DEPTH} folders in one another are too many"
TOO_MANY_ENTRIES = f"left out with all that follows, over {MAX_ENTRIES:,} files and folders are too many"
NO_FILE = "holds no file"
HIDDEN = "skipped, hidden or generated"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to read: the path as the task would write it, where it lies, and its state when it was found."""

    path: str
    place: Place
    state: FileState


@dataclass(slots=True)
class Findings:
    """What was found below the paths of a task, and what was not, by path and reason."""

    files: list[FoundFile] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def find(paths: Iterable[str], roots: Roots) -> Findings:
    """All files at and below the paths. What is missing, refused or skipped is named, never raised."""
    walk = _Walk(roots)
    for path in dict.fromkeys(paths):
        try:
            place = roots.resolve(path)
            status = look(place)
            # A file that the task names is read, whatever any rule says.
            walk.visit(path, place, status, above(place) if stat.S_ISDIR(status.st_mode) else None)
            if not walk.findings.files and not walk.findings.refused:
                raise Refusal(NO_FILE)
        except Refusal as refusal:
            walk.findings.refused.append((path, str(refusal)))
    read = {file.path for file in walk.findings.files}
    walk.findings.refused = [item for item in walk.findings.refused if item[0] not in read]
    return walk.findings


class _Walk:
    def __init__(self, roots: Roots) -> None:
        self.findings = Findings()
        self._roots = roots
        self._seen: set[tuple[int, int]] = set()
        self._entries = 0
        self._total_bytes = 0

    def visit(self, path: str, place: Place, status: os.stat_result, ignoring: Ignoring | None, depth: int = 0) -> None:
        # Links may lead to the same file by many ways, and in circles.
        identity = (status.st_dev, status.st_ino)
        if identity in self._seen:
            return
        if stat.S_ISREG(status.st_mode):
            self._take(path, place, status)
        elif depth > MAX_FOLDER_DEPTH:
            raise Refusal(TOO_DEEP)
        elif ignoring is not None:
            self._seen.add(identity)
            self._list(path, place, ignoring, depth)

    def _take(self, path: str, place: Place, status: os.stat_result) -> None:
        if status.st_size > MAX_FILE_BYTES:
            raise Refusal(TOO_LARGE)
        if len(self.findings.files) >= MAX_FILES:
            raise Refusal(TOO_MANY_FILES)
        if self._total_bytes + status.st_size > MAX_TOTAL_BYTES:
            raise Refusal(TOO_MANY_BYTES)
        self._total_bytes += status.st_size
        self._seen.add((status.st_dev, status.st_ino))
        self.findings.files.append(FoundFile(path, place, state_of(status)))

    def _list(self, path: str, place: Place, ignoring: Ignoring, depth: int) -> None:
        with open_folder(place) as folder, os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False)) for entry in entries)
        # As in git, a link is no file of rules.
        ignoring, wrong = ignoring.reading(
            place, {name for name, is_link, is_folder in found if not is_link | is_folder}
        )
        self.findings.refused += ((os.path.join(path, name), reason) for name, reason in wrong)
        for name, is_link, is_folder in found:
            if self._entries > MAX_ENTRIES:
                return
            shown = os.path.join(path, name)
            self._entries += 1
            try:
                if self._entries > MAX_ENTRIES:
                    raise Refusal(TOO_MANY_ENTRIES)
                verdict = ignoring.verdict(name, is_folder)
                if verdict is not Verdict.ASKED_FOR and (
                    name.startswith(".") or (is_folder and name in SKIPPED_FOLDERS)
                ):
                    raise Refusal(HIDDEN)
                if verdict is Verdict.IGNORED:
                    raise Refusal(IGNORED)
                child = self._target(place.child(name)) if is_link else place.child(name)
                self.visit(shown, child, look(child), ignoring.inside(name), depth + 1)
            except Refusal as refusal:
                self.findings.refused.append((shown, str(refusal)))

    def _target(self, link: Place) -> Place:
        target = self._roots.place_of(os.path.realpath(link.path))
        if target is None:
            raise Refusal(LEADS_OUT)
        return target
