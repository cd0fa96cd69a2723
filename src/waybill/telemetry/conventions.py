"""Names of every span, span attribute and span event of the project, as `docs/telemetry.md` explains them.

They are those of OpenTelemetry's semantic conventions 1.45 for RPC, HTTP, messaging and databases, of its conventions
for generative AI 0.1.0, and names of our own under `waybill.`. Code makes spans by these forms alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.trace import SpanKind

# What spans of several forms have.
ERROR_TYPE = "error.type"
TASK = "waybill.task"
STEP = "waybill.step"
AGENT = "waybill.agent"
ATTEMPT = "waybill.attempt"
TENANT = "waybill.tenant"
OUTCOME = "waybill.outcome"
WAIT_MS = "waybill.wait_ms"
TASK_AGE_MS = "waybill.task.age_ms"

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.status_code"

HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
URL_SCHEME = "url.scheme"

MESSAGING_SYSTEM = "messaging.system.name"
MESSAGING_OPERATION = "messaging.operation.name"
MESSAGING_OPERATION_TYPE = "messaging.operation.type"
MESSAGING_DESTINATION = "messaging.destination.name"
MESSAGING_GROUP = "messaging.consumer.group.name"
MESSAGING_ID = "messaging.message.id"
MESSAGING_COUNT = "messaging.batch.message_count"

DB_SYSTEM = "db.system.name"
DB_OPERATION = "db.operation.name"
DB_FUNCTION = "db.stored_procedure.name"

GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_MODEL = "gen_ai.request.model"
GEN_AI_AGENT = "gen_ai.agent.name"
GEN_AI_CONVERSATION = "gen_ai.conversation.id"
GEN_AI_TOOL = "gen_ai.tool.name"
GEN_AI_FINISH = "gen_ai.response.finish_reasons"
GEN_AI_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
COST = "waybill.cost_microusd"
TOOL_SERVER = "waybill.tool.server"
SCHEDULE = "waybill.schedule"

SYSTEM = "redis"
"""What the store is called in attributes; Valkey speaks the same."""
TASKS = "tasks"
"""The destination that accepted tasks are sent to."""


@dataclass(frozen=True)
class SpanForm:
    """One form of span. `name` has a placeholder in braces for each part that varies; `attributes` are all that it can
    have, `constants` those that are the same on each.
    """

    name: str
    kind: SpanKind
    attributes: frozenset[str]
    constants: tuple[tuple[str, str], ...] = ()


def _form(name: str, kind: SpanKind, *attributes: str, **constants: str) -> SpanForm:
    fixed = tuple((_CONSTANT_NAMES[key], value) for key, value in constants.items())
    return SpanForm(name, kind, frozenset([*attributes, *(key for key, _ in fixed), ERROR_TYPE]), fixed)


_CONSTANT_NAMES = {
    "rpc": RPC_SYSTEM,
    "messaging": MESSAGING_SYSTEM,
    "does": MESSAGING_OPERATION,
    "of_type": MESSAGING_OPERATION_TYPE,
    "database": DB_SYSTEM,
    "command": DB_OPERATION,
    "ai": GEN_AI_OPERATION,
}
_OF_ATTEMPT = (TASK, STEP, AGENT, ATTEMPT, TENANT)

RPC_SERVER = _form("{method}", SpanKind.SERVER, RPC_METHOD, RPC_STATUS, rpc="grpc")
RPC_CLIENT = _form("{method}", SpanKind.CLIENT, RPC_METHOD, RPC_STATUS, rpc="grpc")
HTTP_SERVER = _form("{method} {route}", SpanKind.SERVER, HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS, URL_SCHEME)
CREATE = _form(
    "create tasks",
    SpanKind.PRODUCER,
    MESSAGING_DESTINATION,
    TENANT,
    messaging=SYSTEM,
    does="create",
    of_type="create",
)
SEND = _form(
    "send tasks",
    SpanKind.PRODUCER,
    MESSAGING_DESTINATION,
    MESSAGING_ID,
    TASK,
    TENANT,
    messaging=SYSTEM,
    does="send",
    of_type="send",
)
RECEIVE = _form(
    "receive {agent}",
    SpanKind.CLIENT,
    MESSAGING_DESTINATION,
    MESSAGING_GROUP,
    MESSAGING_COUNT,
    messaging=SYSTEM,
    does="receive",
    of_type="receive",
)
PROCESS = _form(
    "process {agent}",
    SpanKind.CONSUMER,
    MESSAGING_DESTINATION,
    MESSAGING_GROUP,
    MESSAGING_ID,
    OUTCOME,
    WAIT_MS,
    TASK_AGE_MS,
    *_OF_ATTEMPT,
    messaging=SYSTEM,
    does="process",
    of_type="process",
)
INVOKE_AGENT = _form("invoke_agent {agent}", SpanKind.INTERNAL, GEN_AI_AGENT, GEN_AI_CONVERSATION, ai="invoke_agent")
EXECUTE_TOOL = _form("execute_tool {tool}", SpanKind.INTERNAL, GEN_AI_TOOL, TOOL_SERVER, ai="execute_tool")
CHAT = _form(
    "chat {model}",
    SpanKind.CLIENT,
    GEN_AI_PROVIDER,
    GEN_AI_MODEL,
    GEN_AI_FINISH,
    GEN_AI_INPUT_TOKENS,
    GEN_AI_OUTPUT_TOKENS,
    GEN_AI_CACHED_TOKENS,
    COST,
    ai="chat",
)
PLAN = _form("plan", SpanKind.INTERNAL, TASK, TENANT, OUTCOME, GEN_AI_CONVERSATION, TASK_AGE_MS, ai="plan")
REVISE = _form("revise", SpanKind.INTERNAL, TASK, TENANT, OUTCOME, GEN_AI_CONVERSATION, TASK_AGE_MS, ai="plan")
FIRE = _form("fire", SpanKind.INTERNAL, SCHEDULE, TENANT)
ASK = _form("ask {step}", SpanKind.INTERNAL, TASK, STEP, TENANT)
FUNCTION = _form("FCALL {function}", SpanKind.CLIENT, DB_FUNCTION, database=SYSTEM, command="FCALL")

FORMS = (
    RPC_SERVER,
    RPC_CLIENT,
    HTTP_SERVER,
    CREATE,
    SEND,
    RECEIVE,
    PROCESS,
    INVOKE_AGENT,
    EXECUTE_TOOL,
    CHAT,
    PLAN,
    REVISE,
    FIRE,
    ASK,
    FUNCTION,
)

# Span events, each with the attributes that it has.
READY = "waybill.ready"
RETRIED = "waybill.retried"
PERMIT_WAIT = "waybill.permit_wait"
BACKOFF = "waybill.backoff"
ASKED = "waybill.asked"
ANSWERED = "waybill.answered"

EVENTS = {
    READY: frozenset({WAIT_MS}),
    RETRIED: frozenset({ATTEMPT}),
    PERMIT_WAIT: frozenset({WAIT_MS, GEN_AI_MODEL}),
    BACKOFF: frozenset({WAIT_MS}),
    ASKED: frozenset(),
    ANSWERED: frozenset({WAIT_MS}),
}
