"""The tables of the archive: what is kept in SQL of a task that has ended. Times are epoch milliseconds, 0 when not
yet; money is in millionths of a US dollar; inputs and outputs are JSON text, as bytes.

A row of `waybill_tasks` owns all others of its task, which go with it: to thin the archive out, delete tasks.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

SCHEMA_VERSION = 3
"""Version of these tables, kept in the database; a later release's are left alone."""
OLDEST_VERSION = 1
"""The oldest version whose tables are brought up to date: what they lack has a default, so that old rows stay."""

METADATA = MetaData()


class PlainText(TypeDecorator[str]):
    """Any text. PostgreSQL cannot store the character NUL, so it is kept as its picture everywhere."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it is stored and compared."""
        return value.replace("\x00", "\u2400") if value else value


def _text(name: str) -> Column[str]:
    return Column(name, PlainText, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _failure() -> list[Column[str]]:
    return [Column("failure_reason", PlainText), Column("failure_message", PlainText)]


def _added(name: str, default: int = 0) -> Column[int]:
    """A number that rows of an earlier version do not have."""
    return Column(name, BigInteger, nullable=False, server_default=str(default))


def _usage() -> list[Column[int]]:
    known = [_number(name) for name in ("input_tokens", "output_tokens", "cost_microusd")]
    return known + [_added(name) for name in ("cached_input_tokens", "reasoning_tokens", "estimated_microusd")]


def _spend() -> list[Column[int]]:
    return [*_usage(), _number("wait_ms"), _number("run_ms")]


def _id(name: str) -> Column[str]:
    # Ordered by its bytes, as the store orders task ids, whatever the database's language.
    return Column(name, Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True)


def _owner() -> Column[str]:
    text = Text().with_variant(Text(collation="C"), "postgresql")
    return Column("task_id", text, ForeignKey("waybill_tasks.id", ondelete="CASCADE"), primary_key=True)


VERSION = Table("waybill_archive", METADATA, Column("version", Integer, primary_key=True))

TASKS = Table(
    "waybill_tasks",
    METADATA,
    _id("id"),
    _text("tenant"),
    _text("state"),
    _text("goal"),
    _text("priority"),
    Column("labels", JSON, nullable=False),
    Column("paths", JSON, nullable=False),
    _text("template"),
    Column("agents", JSON, nullable=False),
    _text("failure_policy"),
    _text("traceparent"),
    _number("revision"),
    _number("step_count"),
    _number("ended_step_count"),
    _number("last_sequence"),
    Column("sinks", JSON, nullable=False),
    *_failure(),
    *_spend(),
    _number("created_ms"),
    _number("planned_ms"),
    _number("ended_ms"),
    _number("deadline_at_ms"),
    Column("input", LargeBinary, nullable=False),
    Column("budget", JSON(none_as_null=True)),
    Column("policy", JSON(none_as_null=True)),
    _added("start_ms"),
    Index("waybill_tasks_by_time", "tenant", "created_ms", "id"),
)

LABELS = Table(
    "waybill_task_labels",
    METADATA,
    _owner(),
    Column("key", PlainText, primary_key=True),
    _text("value"),
    Index("waybill_task_labels_by_value", "key", "value"),
)

AGENTS = Table(
    "waybill_task_agents",
    METADATA,
    _owner(),
    Column("agent", PlainText, primary_key=True),
)

STEPS = Table(
    "waybill_steps",
    METADATA,
    _owner(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("name"),
    _text("agent"),
    _text("state"),
    _number("attempt"),
    _number("tries"),
    _number("deaths"),
    _number("losses"),
    Column("dependencies", JSON, nullable=False),
    _text("worker"),
    *_failure(),
    *_spend(),
    _number("ready_ms"),
    _number("started_ms"),
    _number("ended_ms"),
    Column("question", JSON(none_as_null=True)),
    Column("input", LargeBinary, nullable=False),
    Column("output", LargeBinary, nullable=False),
    _added("plan_revision", 1),
    Column("conditions", JSON(none_as_null=True)),
    _added("allow_skipped"),
    _added("dropped"),
)

ATTEMPTS = Table(
    "waybill_attempts",
    METADATA,
    _owner(),
    Column("step_number", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("state"),
    _text("worker"),
    *_failure(),
    *_spend(),
    _number("started_ms"),
    _number("ended_ms"),
)

CALLS = Table(
    "waybill_calls",
    METADATA,
    _owner(),
    Column("step_number", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("state"),
    _text("agent"),
    _text("model"),
    _text("endpoint"),
    *_usage(),
    _number("started_ms"),
    _number("ended_ms"),
    Column("prompt", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
)

OWNED = (LABELS, AGENTS, STEPS, ATTEMPTS, CALLS)
"""The tables whose rows belong to a task."""
