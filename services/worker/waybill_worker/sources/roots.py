"""What the operator allows to be read: the roots of `WAYBILL_WORKER_SOURCE_ROOTS`, and the judgement over one path."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

_SEPARATORS = re.compile(f"[,{re.escape(os.pathsep)}]")

NOT_ALLOWED = "refused, it is not below a folder that the operator allows (WAYBILL_WORKER_SOURCE_ROOTS)"
LEADS_OUT = "refused, it leads out of the folders that the operator allows (WAYBILL_WORKER_SOURCE_ROOTS)"
MISSING = "does not exist"


class SourceSettings(BaseSettings):
    """The part of the worker's settings that agents read where they run, in whichever process that is."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_WORKER_", extra="ignore")

    source_roots: str = ""
    """Folders or files that tasks may read, separated by commas or the system's path separator. Default: none."""


@dataclass(frozen=True, slots=True)
class Root:
    """One allowed place, links resolved: a folder, or the single file `name` in it."""

    folder: str
    name: str = ""

    @property
    def path(self) -> str:
        """The real path that is allowed."""
        return os.path.join(self.folder, self.name) if self.name else self.folder


@dataclass(frozen=True, slots=True)
class Place:
    """A real path that is allowed: the parts that lead from a root's folder to it, none of them a link."""

    root: Root
    parts: tuple[str, ...]

    @property
    def path(self) -> str:
        """The real path."""
        return os.path.join(self.root.folder, *self.parts)

    def child(self, name: str) -> Place:
        """The entry `name` of this folder."""
        return Place(self.root, (*self.parts, name))


class Refusal(Exception):
    """A path that is not read; the text says why, and tells nothing about places that are not allowed."""


class Roots:
    """The allowed places. Links in the roots themselves are resolved once, when the object is made."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._named: list[str] = []
        self._roots: list[Root] = []
        for path in paths:
            self._named.append(os.path.abspath(path))
            real = os.path.realpath(path)
            self._roots.append(Root(os.path.dirname(real), os.path.basename(real)) if _is_file(real) else Root(real))
        self._roots.sort(key=lambda root: (-len(root.path), root.path))

    @classmethod
    def from_environment(cls) -> Roots:
        """The roots of this process's environment."""
        return cls(part.strip() for part in _SEPARATORS.split(SourceSettings().source_roots) if part.strip())

    def place_of(self, real_path: str) -> Place | None:
        """Where a real path lies, or None if no root allows it."""
        for root in self._roots:
            if real_path == root.path:
                return Place(root, (root.name,) if root.name else ())
            if not root.name and _below(real_path, root.folder):
                return Place(root, tuple(Path(real_path).relative_to(root.folder).parts))
        return None

    def resolve(self, path: str) -> Place:
        """The place of a path as a task names it: absolute, or relative to the working directory or to a root.

        Raises `Refusal` if it is not allowed, or does not exist in an allowed place.
        """
        if not path.strip() or "\0" in path:
            raise Refusal("refused, it is not a path")
        try:
            return self._first_existing(path)
        except (ValueError, OSError) as error:
            raise Refusal(f"cannot be read ({reason_of(error)})") from error

    def _first_existing(self, path: str) -> Place:
        candidates = [path] if os.path.isabs(path) else [path, *(os.path.join(named, path) for named in self._named)]
        missing = False
        for candidate in candidates:
            place = self.place_of(os.path.realpath(candidate))
            if place is not None and os.path.lexists(place.path):
                return place
            missing = missing or place is not None
        if missing:
            raise Refusal(MISSING)
        looks_allowed = any(_below(os.path.abspath(name), root) for name in candidates for root in self._named)
        raise Refusal(LEADS_OUT if looks_allowed else NOT_ALLOWED)


def reason_of(error: Exception) -> str:
    """What went wrong, for people, without the path that the system puts into its text."""
    return (error.strerror or type(error).__name__).lower() if isinstance(error, OSError) else "it is not a path"


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _is_file(real_path: str) -> bool:
    return os.path.exists(real_path) and not os.path.isdir(real_path)
