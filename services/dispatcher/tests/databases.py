"""Databases for the archive: files of SQLite, and a PostgreSQL server on loopback where one is installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psycopg
from free_ports import HOST, free_port

_OWNERS = ("postgres", "nobody")
_DATABASE = "archive"


class Database(Protocol):
    """What gives a test a database of its own."""

    def empty(self, folder: Path) -> str:
        """The URL of an empty one."""

    @contextlib.contextmanager
    def away(self, folder: Path) -> Iterator[str]:
        """The URL of one that is away inside, and back afterwards, empty."""


def _postgres(program: str) -> str | None:
    found = shutil.which(program)
    if found:
        return found
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(installed[-1]) if installed else None


def database_kinds() -> list[str]:
    """SQLite, and PostgreSQL where it is installed."""
    return ["sqlite", *(["postgresql"] if _postgres("initdb") and _postgres("postgres") else [])]


@contextlib.contextmanager
def running_database(kind: str) -> Iterator[Database]:
    """A server of this kind."""
    if kind == "sqlite":
        yield Files()
        return
    with tempfile.TemporaryDirectory(prefix="waybill-postgres-") as folder:
        server = Server(Path(folder))
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Files:
    """Databases of SQLite: files."""

    def empty(self, folder: Path) -> str:
        return f"sqlite:///{folder}/archive.db"

    @contextlib.contextmanager
    def away(self, folder: Path) -> Iterator[str]:
        missing = folder / "missing"
        yield f"sqlite:///{missing}/archive.db"
        missing.mkdir()


@dataclass
class Server:
    """A PostgreSQL server, which runs as another user if we are root: it refuses to be root itself."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _as_owner(self, command: Sequence[str]) -> list[str]:
        if os.getuid() != 0:
            return list(command)
        owner = self._owner()
        ids = [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        return ["setpriv", *ids, "--pdeathsig", "SIGINT", *command]

    def _owner(self) -> pwd.struct_passwd:
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        return next(known[name] for name in _OWNERS if name in known)

    def create(self) -> None:
        """Make the server's files."""
        if os.getuid() == 0:
            os.chown(self.folder, self._owner().pw_uid, self._owner().pw_gid)
        options = ["--no-sync", "--no-instructions", "--auth=trust", "--username=waybill", "--encoding=UTF8"]
        initdb = [_postgres("initdb") or "initdb", *options, "--locale=C.UTF-8", f"--pgdata={self.data}"]
        subprocess.run(self._as_owner(initdb), check=True, capture_output=True, cwd="/", timeout=120)

    def start(self) -> None:
        """Start on a free port, and wait until it answers."""
        self.port = free_port()
        settings = {"listen_addresses": HOST, "unix_socket_directories": str(self.folder), "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [_postgres("postgres") or "postgres", "-D", str(self.data), "-p", str(self.port), *options]
        log = subprocess.DEVNULL
        self.process = subprocess.Popen(self._as_owner(command), stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + 60
        while True:
            try:
                self._execute(f"CREATE DATABASE {_DATABASE}")
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop at once, as its files go too."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(60)

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://waybill@{HOST}:{self.port}/{name}"

    def _execute(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(
            host=HOST, port=self.port, user="waybill", dbname=database, autocommit=True, connect_timeout=20
        ) as client:
            client.execute(statement)  # type: ignore[call-overload]

    def _cut_off(self, database: str) -> None:
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")

    def empty(self, folder: Path) -> str:
        self._cut_off(_DATABASE)
        self._execute("DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public", _DATABASE)
        return self._url(_DATABASE)

    @contextlib.contextmanager
    def away(self, folder: Path) -> Iterator[str]:
        url = self.empty(folder)
        self._execute(f"ALTER DATABASE {_DATABASE} ALLOW_CONNECTIONS false")
        self._cut_off(_DATABASE)
        try:
            yield url
        finally:
            self._execute(f"ALTER DATABASE {_DATABASE} ALLOW_CONNECTIONS true")
