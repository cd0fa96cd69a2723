"""Opening files and folders of allowed places: never through a link, never anything that could block."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from waybill.core.limits import MAX_DOCUMENT_BYTES, MIB
from waybill_worker.sources.roots import LEADS_OUT, MISSING, Place, Refusal, reason_of

MAX_FILE_BYTES = MAX_DOCUMENT_BYTES
"""Largest source file: the same as for a document sent with a task."""
NOT_REGULAR = "is neither a file nor a folder"
TOO_LARGE = f"is larger than {MAX_FILE_BYTES // MIB} MiB"

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells whether a file is still the same: device, inode, size in bytes, times in nanoseconds."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


def state_of(status: os.stat_result) -> FileState:
    """The state that a stat result describes."""
    return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@contextmanager
def open_folder(place: Place) -> Iterator[int]:
    """A descriptor of the folder, reached from its root part by part so that a link put in the way is refused.

    Raises `Refusal` if a part is missing, is a link by now, or is no folder.
    """
    descriptor = -1
    try:
        with _refusing():
            descriptor = os.open(place.root.folder, _FOLDER_FLAGS)
            for part in place.parts:
                deeper = os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = deeper
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def look(place: Place) -> os.stat_result:
    """The stat result of the place itself. Raises `Refusal` if it is neither a regular file nor a folder."""
    if not place.parts:
        with open_folder(place) as folder:
            return os.fstat(folder)
    with open_folder(Place(place.root, place.parts[:-1])) as folder, _refusing():
        status = os.stat(place.parts[-1], dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        raise Refusal(LEADS_OUT)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise Refusal(NOT_REGULAR)
    return status


def read_file(place: Place) -> bytes:
    """The whole content of a regular file. Raises `Refusal` if it is something else by now, or over the cap."""
    return read_file_and_state(place)[0]


def read_file_and_state(place: Place) -> tuple[bytes, FileState | None]:
    """The content of a file with the state it belongs to; no state if the file changed while it was read.

    Raises `Refusal` as `read_file` does.
    """
    # A device can act when it is opened, so the kind is checked before as well as after.
    if not stat.S_ISREG(look(place).st_mode):
        raise Refusal(NOT_REGULAR)
    with open_folder(Place(place.root, place.parts[:-1])) as folder, _refusing():
        descriptor = os.open(place.parts[-1], _FILE_FLAGS, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise Refusal(NOT_REGULAR)
            data = file.read(MAX_FILE_BYTES + 1)
            after = os.fstat(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise Refusal(TOO_LARGE)
    state = state_of(after)
    return data, state if state_of(before) == state and len(data) == state.size_bytes else None


@contextmanager
def _refusing() -> Iterator[None]:
    """Turns what the system says into a `Refusal`."""
    try:
        yield
    except FileNotFoundError as error:
        raise Refusal(MISSING) from error
    except OSError as error:
        raise Refusal(f"cannot be read ({reason_of(error)})") from error
