"""The archive: ended tasks in a SQL database of the dispatcher's own, written once and read when the store has dropped
them.

The database is asked in threads of the archive's own, so that one that hangs holds up nobody else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Table,
    and_,
    create_engine,
    delete,
    event,
    exists,
    inspect,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from waybill.errors import NotFound, Unavailable, WaybillError
from waybill.ledger.call_records import CallRecord
from waybill.ledger.reads import ListPosition
from waybill.ledger.records import StepRecord, TaskFilter, TaskRecord
from waybill.telemetry.logs import get_logger
from waybill_dispatcher import archive_rows as rows
from waybill_dispatcher.archive_schema import (
    AGENTS,
    ATTEMPTS,
    CALLS,
    LABELS,
    METADATA,
    OLDEST_VERSION,
    OWNED,
    SCHEMA_VERSION,
    STEPS,
    TASKS,
    VERSION,
)
from waybill_dispatcher.attempts import Attempt
from waybill_dispatcher.threads import Threads

log = get_logger(__name__)

Result = TypeVar("Result")

CONNECTIONS = 4
ANSWER_SECONDS = 20.0
_CONNECT_SECONDS = 5
_LOCK_SECONDS = 15
"""How long SQLite waits for another writer; under `ANSWER_SECONDS`, so that who waits for it hears of it."""
_UNFIT = (ArithmeticError, TypeError, ValueError)
"""What drivers raise for a value that they cannot hand over, without making it an error of the database."""
_PATIENCE = {
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": int(ANSWER_SECONDS * 1000),
}
"""How long libpq believes in a PostgreSQL server that says nothing."""
_PREPARING = 0x57617962696C6C
"""Key of the PostgreSQL lock under which one process at a time creates the tables."""


class Archive:
    """The database behind one URL. All methods raise Unavailable while it is away; it is connected to on first use."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._insert: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[self._engine.dialect.name]
        self._threads = Threads(CONNECTIONS, "archive")
        self._preparing = threading.Lock()
        self._prepared = False

    def close(self) -> None:
        """Close every connection; what is under way is not waited for."""
        self._threads.close()
        self._engine.dispose()

    async def write(self, tasks: Sequence[rows.EndedTask]) -> None:
        """Keep these tasks, all in one transaction. May be repeated: a task replaces what is kept of it, unless that
        is from a later end. Raises WaybillError, but not Unavailable, if the database refuses what they hold.
        """
        await self._in_thread(lambda connection: self._write(connection, tasks))

    async def task(self, task_id: str) -> TaskRecord:
        """One task. Raises NotFound."""
        row = await self._in_thread(
            lambda connection: connection.execute(select(TASKS).where(TASKS.c.id == task_id)).mappings().first()
        )
        if row is None:
            raise NotFound(f"there is no task {task_id}")
        return rows.task_of_row(row)

    async def list_tasks(
        self, tenant: str, limit: int, after: ListPosition | None, wanted: TaskFilter
    ) -> tuple[list[TaskRecord], ListPosition | None]:
        """A tenant's tasks, newest first, and where the next page starts, or None at the end."""
        query = _listed(tenant, after, wanted).limit(limit + 1)
        found = await self._in_thread(lambda connection: connection.execute(query).mappings().all())
        records = [rows.task_of_row(row) for row in found[:limit]]
        last = records[-1] if len(found) > limit else None
        return records, ListPosition(last.created_ms, last.id) if last else None

    async def steps(self, task_id: str, first: int, last: int, *, payloads: bool = True) -> list[StepRecord]:
        """Steps number `first` to `last` of a task, with inputs and outputs unless told otherwise."""
        columns = [column for column in STEPS.c if payloads or column.name not in ("input", "output")]
        query = (
            select(*columns)
            .where(STEPS.c.task_id == task_id, STEPS.c.number.between(first, last))
            .order_by(STEPS.c.number)
        )
        found = await self._in_thread(lambda connection: connection.execute(query).mappings().all())
        return [rows.step_of_row(row) for row in found]

    async def outputs(self, task_id: str, numbers: Sequence[int]) -> list[bytes]:
        """Outputs of steps by number, JSON text; empty for one that has none."""
        query = select(STEPS.c.number, STEPS.c.output).where(
            STEPS.c.task_id == task_id, STEPS.c.number.in_(list(numbers))
        )
        found = await self._in_thread(lambda connection: connection.execute(query).all())
        outputs: dict[int, bytes] = {row.number: row.output for row in found}
        return [outputs.get(number, b"") for number in numbers]

    async def attempts(self, task_id: str, number: int) -> list[Attempt]:
        """The attempts of a step by its number, oldest first."""
        query = (
            select(ATTEMPTS)
            .where(ATTEMPTS.c.task_id == task_id, ATTEMPTS.c.step_number == number)
            .order_by(ATTEMPTS.c.number)
        )
        found = await self._in_thread(lambda connection: connection.execute(query).mappings().all())
        return [rows.attempt_of_row(row) for row in found]

    async def calls(self, task_id: str, number: int | None = None) -> list[CallRecord]:
        """The model calls of a task, oldest first; those of step `number` alone with what was kept of their texts."""
        columns = [column for column in CALLS.c if number is not None or column.name not in ("prompt", "response")]
        query = select(*columns).where(CALLS.c.task_id == task_id)
        if number is not None:
            query = query.where(CALLS.c.step_number == number)
        query = query.order_by(CALLS.c.started_ms, CALLS.c.step_number, CALLS.c.attempt, CALLS.c.number)
        found = await self._in_thread(lambda connection: connection.execute(query).mappings().all())
        return [rows.call_of_row(row) for row in found]

    async def _in_thread(self, work: Callable[[Connection], Result]) -> Result:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._threads.run(lambda: self._in_transaction(work))
        except TimeoutError as error:
            raise _away() from error

    def _in_transaction(self, work: Callable[[Connection], Result]) -> Result:
        try:
            self._prepare()
            with self._engine.begin() as connection:
                return work(connection)
        except (SQLAlchemyError, *_UNFIT) as error:
            self._prepared = False  # the database may come back as another one
            raise _translated(error) from error

    def _prepare(self) -> None:
        if self._prepared:
            return
        with self._preparing, self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PREPARING})
            connection.execute(CreateTable(VERSION, if_not_exists=True))
            connection.execute(
                self._insert(VERSION).from_select(
                    ["version"], select(text(str(SCHEMA_VERSION))).where(~exists(select(VERSION.c.version)))
                )
            )
            known = connection.execute(select(VERSION.c.version)).scalars().all()
            if len(known) != 1 or not OLDEST_VERSION <= known[0] <= SCHEMA_VERSION:
                log.error("the archive is another release's", version=known, needed=SCHEMA_VERSION)
                raise _away()
            for table in METADATA.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
                if known != [SCHEMA_VERSION]:
                    _add_columns(connection, table)
                for index in table.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))
            if known != [SCHEMA_VERSION]:
                connection.execute(update(VERSION).values(version=SCHEMA_VERSION))
            self._prepared = True

    def _write(self, connection: Connection, tasks: Sequence[rows.EndedTask]) -> None:
        # In one order everywhere, so that two dispatchers never wait for each other's rows.
        for task in sorted(tasks, key=lambda task: task.record.id):
            if not self._replace(connection, task):
                continue
            for table in OWNED:
                connection.execute(delete(table).where(table.c.task_id == task.record.id))
            for table, owned in (
                (LABELS, rows.label_rows(task.record)),
                (AGENTS, rows.agent_rows(task.record)),
                (STEPS, rows.step_rows(task)),
                (ATTEMPTS, rows.attempt_rows(task)),
                (CALLS, rows.call_rows(task)),
            ):
                if owned:
                    connection.execute(table.insert(), owned)

    def _replace(self, connection: Connection, task: rows.EndedTask) -> bool:
        """Write the row of a task itself. False if what is kept is from a later end."""
        row = rows.task_row(task)
        insert = self._insert(TASKS).values(row)
        upsert = insert.on_conflict_do_update(
            index_elements=[TASKS.c.id],
            set_={name: insert.excluded[name] for name in row if name != "id"},
            where=TASKS.c.ended_ms <= insert.excluded.ended_ms,
        ).returning(TASKS.c.id)
        return connection.execute(upsert).first() is not None


def _add_columns(connection: Connection, table: Table) -> None:
    """Give a table of an earlier version the columns that it lacks; whoever dies in between is followed by another."""
    known = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for column in table.columns:
        if column.name not in known:
            added = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {added}"))


def _listed(tenant: str, after: ListPosition | None, wanted: TaskFilter) -> Select[Any]:
    query = select(TASKS).where(TASKS.c.tenant == tenant)
    if after is not None:
        same = and_(TASKS.c.created_ms == after.created_ms, TASKS.c.id < after.task)
        query = query.where(or_(TASKS.c.created_ms < after.created_ms, same))
    if wanted.states:
        query = query.where(TASKS.c.state.in_(sorted(state.value for state in wanted.states)))
    if wanted.template:
        query = query.where(TASKS.c.template == wanted.template)
    if wanted.from_ms:
        query = query.where(TASKS.c.created_ms >= wanted.from_ms)
    if wanted.until_ms:
        query = query.where(TASKS.c.created_ms < wanted.until_ms)
    if wanted.agent:
        query = query.where(exists().where(AGENTS.c.task_id == TASKS.c.id, AGENTS.c.agent == wanted.agent))
    for key, value in sorted(wanted.labels.items()):
        query = query.where(
            exists().where(LABELS.c.task_id == TASKS.c.id, LABELS.c.key == key, LABELS.c.value == value)
        )
    return query.order_by(TASKS.c.created_ms.desc(), TASKS.c.id.desc())


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    of_sqlite = parsed.get_backend_name() == "sqlite"
    engine = create_engine(
        parsed,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=_CONNECT_SECONDS,
        pool_pre_ping=True,
        connect_args={"timeout": _LOCK_SECONDS} if of_sqlite else _PATIENCE,
    )
    if of_sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
    else:
        event.listen(engine, "connect", _set_up_postgresql)
    return engine


def _set_up_sqlite(connection: Any, record: Any) -> None:
    # A task is marked as archived only once it is on the disk: hence FULL.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _set_up_postgresql(connection: Any, record: Any) -> None:
    # A statement ends before those who wait for it have given up, so that no thread is held for long.
    connection.autocommit = True
    connection.execute(f"SET statement_timeout = {int(ANSWER_SECONDS * 1000) - 1000}")
    connection.autocommit = False


def _translated(error: Exception) -> WaybillError:
    """Unavailable for whatever may pass by itself. Details stay in the cause."""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return _away()
    return WaybillError("the archive refused what it was given")


def _away() -> Unavailable:
    return Unavailable("the archive cannot be reached; try again", reason="ARCHIVE_UNAVAILABLE")
