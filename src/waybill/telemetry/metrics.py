"""Every Prometheus instrument of the project. Labels are bounded: names of RPCs, agents, states, never of tasks.

Names of agents come from workers that an operator runs, so their number is bounded by what is deployed.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_CALL_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WORK_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_RPC = ("grpc_type", "grpc_service", "grpc_method")

# gRPC servers, under the names that existing dashboards expect.
GRPC_STARTED = Counter("grpc_server_started_total", "RPCs started on the server.", _RPC)
GRPC_HANDLED = Counter("grpc_server_handled_total", "RPCs completed on the server.", (*_RPC, "grpc_code"))
GRPC_RECEIVED = Counter("grpc_server_msg_received_total", "Stream messages received by the server.", _RPC)
GRPC_SENT = Counter("grpc_server_msg_sent_total", "Stream messages sent by the server.", _RPC)
GRPC_SECONDS = Histogram(
    "grpc_server_handling_seconds", "Seconds from the start of an RPC to its end.", _RPC, buckets=_CALL_SECONDS
)

# The HTTP surface; `route` is the template of the path, never the path.
HTTP_REQUESTS = Counter("waybill_http_requests_total", "HTTP requests answered.", ("method", "route", "status"))
HTTP_SECONDS = Histogram(
    "waybill_http_request_seconds",
    "Seconds from an HTTP request to the first byte of its response.",
    ("method", "route"),
    buckets=_CALL_SECONDS,
)

# Tasks.
TASKS_ACCEPTED = Counter("waybill_tasks_accepted_total", "Tasks accepted.")
TASKS_ENDED = Counter("waybill_tasks_ended_total", "Tasks seen to end, by final state.", ("state",))
PLANNING_SECONDS = Histogram(
    "waybill_planning_seconds", "Seconds that planning one goal took.", ("outcome",), buckets=_WORK_SECONDS
)
CONDITIONS_DECIDED = Counter("waybill_conditions_decided_total", "Steps whose conditions were looked at.", ("outcome",))
REVISION_SECONDS = Histogram(
    "waybill_revision_seconds", "Seconds that revising one plan took.", ("outcome",), buckets=_WORK_SECONDS
)
SCHEDULE_FIRINGS = Counter(
    "waybill_schedule_firings_total", "Firings of schedules that were decided, missed ones included.", ("outcome",)
)
SCHEDULE_LAG_SECONDS = Histogram(
    "waybill_schedule_lag_seconds",
    "Seconds between the time that a firing was due and its submission, those that waited in the queue left out.",
    buckets=_WORK_SECONDS,
)
SUBMISSION_GROUP = Histogram(
    "waybill_submission_group_size",
    "Submissions that the gateway sent to the dispatcher in one call.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000),
)
WATCHERS = Gauge("waybill_watchers", "Watchers of tasks that are connected.")
UPSTREAM_STREAMS = Gauge("waybill_upstream_streams", "Event streams open to the dispatcher.")

# Steps.
STEPS_SETTLED = Counter("waybill_steps_settled_total", "Attempts settled.", ("agent", "outcome"))
STEP_WAIT_SECONDS = Histogram(
    "waybill_step_wait_seconds", "Seconds between a step's ready and its start.", ("agent",), buckets=_WORK_SECONDS
)
STEP_RUN_SECONDS = Histogram(
    "waybill_step_run_seconds", "Seconds that an attempt ran.", ("agent",), buckets=_WORK_SECONDS
)
BATCH_SIZE = Histogram(
    "waybill_batch_size", "Steps granted in one exchange.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
)
# `reason`: what kept a batch from holding more. target: what fits the target time by the agent's mean; maximum,
# minimum, fixed: as configured; unmeasured: no step has run yet; waiting: no more waited; slots: what free slots could
# start at once; share: the rest is left to other idle workers.
BATCHES = Counter("waybill_batches_total", "Batches that this worker took out of waiting rooms.", ("agent", "reason"))
BATCH_STEPS = Counter("waybill_batch_steps_total", "Steps in those batches.", ("agent", "reason"))
BATCH_STEPS_RETURNED = Counter(
    "waybill_batch_steps_returned_total",
    "Steps given back as those before them in their batch ran long.",
    ("agent",),
)
SLOT_WAIT_SECONDS = Histogram(
    "waybill_slot_wait_seconds",
    "Seconds that a step waited in its worker for those before it in its batch.",
    ("agent",),
    buckets=_WORK_SECONDS,
)
STALE_SETTLEMENTS = Counter("waybill_stale_settlements_total", "Settlements refused because the attempt was stale.")
RECLAIMED_STEPS = Counter("waybill_reclaimed_steps_total", "Steps taken back from workers that died.")
RUNNING_STEPS = Gauge("waybill_running_steps", "Steps that this worker runs.")
SLOTS = Gauge("waybill_slots", "Steps that this worker can run at once.")

# Calls of models, by the operator's names of models; `outcome` is "answered" or the kind of fault.
MODEL_CALLS = Counter("waybill_model_calls_total", "Calls of models that ended.", ("model", "outcome"))
MODEL_CALL_SECONDS = Histogram(
    "waybill_model_call_seconds", "Seconds that calls of models took.", ("model",), buckets=_WORK_SECONDS
)
MODEL_TOKENS = Counter("waybill_model_tokens_total", "Tokens that models used, estimates included.", ("model", "kind"))
MODEL_COST = Counter("waybill_model_cost_microusd_total", "Millionths of a US dollar that models cost.", ("model",))

# Sources that agents read. `outcome`: a source was parsed, or what was kept of it was used again. `reason`: one of a
# few words for why a source, or a part of it, does not count.
SOURCES_READ = Counter("waybill_sources_read_total", "Sources read for an index.", ("outcome",))
SOURCES_SKIPPED = Counter("waybill_sources_skipped_total", "Sources, or parts of them, left out.", ("reason",))
INDEX_SECONDS = Histogram(
    "waybill_index_seconds",
    "Seconds that making the index of a task's sources took, or loading it where it was kept.",
    ("outcome",),
    buckets=_WORK_SECONDS,
)

# The ledger.
EXCHANGE_SECONDS = Histogram("waybill_exchange_seconds", "Seconds of one exchange.", buckets=_CALL_SECONDS)
LEDGER_SECONDS = Histogram(
    "waybill_ledger_call_seconds",
    "Seconds of one call of a ledger function.",
    ("function",),
    buckets=_CALL_SECONDS,
)
LEDGER_ERRORS = Counter("waybill_ledger_errors_total", "Calls of ledger functions that failed.", ("function", "reason"))
