"""What the reasons of refused calls mean, and what to do about each: the catalogue that problem details point to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PAGE = "/docs/problems"
"""Where the gateway shows the catalogue; each reason is an anchor on it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem: its title, the same each time, and what helps."""

    title: str
    remedy: str


_TRY_AGAIN = "Send the same call again after a moment, with the same request id if it changes something."

PROBLEMS: Mapping[str, Problem] = {
    "INVALID_ARGUMENT": Problem(
        "A field of the request is wrong", "Mend the fields that `violations` names; the call can never pass as it is."
    ),
    "PLAN_INVALID": Problem(
        "The plan cannot run",
        "Mend the steps that `violations` names. `waybill plan check` finds the same without submitting.",
    ),
    "AGENT_MISSING": Problem(
        "No worker runs an agent that is needed",
        "Look at the announced agents by `GET /v1/agents`, and start a worker that has the missing one.",
    ),
    "SCHEMA_INVALID": Problem("A JSON Schema cannot be used", "Mend the schema that `detail` tells of."),
    "SCHEMA_COSTLY": Problem(
        "A JSON Schema could take too long to check", "Take the patterns or repetitions out that `detail` tells of."
    ),
    "MALFORMED": Problem(
        "The bytes of the request are no message of this call", "Generate stubs from the contracts of this release."
    ),
    "BODY_TOO_LARGE": Problem(
        "The body is too large", "Send large sources as paths that the workers can read, or split the batch."
    ),
    "MESSAGE_TOO_LARGE": Problem("A message is too large", "Ask for smaller pages, or send less at once."),
    "ORIGIN_REFUSED": Problem(
        "The page may not call this gateway",
        "Call from a page of the gateway's own origin, or have the operator name the page's origin.",
    ),
    "TEMPLATE_NOT_FOUND": Problem(
        "There is no such plan template", "List the templates; the operator keeps them as files of the planner."
    ),
    "NOT_FOUND": Problem(
        "There is no such thing for this tenant",
        "Check the name and the tenant; what ended long ago may have expired.",
    ),
    "REQUEST_ID_REUSED": Problem(
        "The request id stood for another call",
        "Use a new request id for each new call; repeat a call with its own, unchanged.",
    ),
    "SCHEDULE_EXISTS": Problem("There is a schedule of this name", "Choose another name, or replace the schedule."),
    "SCHEDULE_CHANGED": Problem("The schedule was changed meanwhile", _TRY_AGAIN),
    "SCHEDULE_BUSY": Problem("The schedule fires too often to be changed now", _TRY_AGAIN),
    "SPEC_DAMAGED": Problem("What the schedule submits cannot be read", "Update the schedule with what it submits."),
    "WRONG_STATE": Problem(
        "The state does not allow the call", "Read the state first; `detail` says which states allow the call."
    ),
    "ARCHIVED": Problem(
        "The task lives in the archive alone", "It can be read, not changed: submit a new task instead."
    ),
    "PATCH_REFUSED": Problem("The plan does not allow the patch", "Read the steps again, and patch what they are now."),
    "CURSOR_EXPIRED": Problem(
        "Results after the cursor are not kept any more", "Begin without a cursor, and expect results seen before."
    ),
    "CURSOR_UNKNOWN": Problem(
        "A failover of the store lost the result that the cursor stands for",
        "Begin without a cursor, and expect results seen before.",
    ),
    "STORE_FULL": Problem(
        "The store is full", "Try again when tasks have ended or expired; the operator can give it more memory."
    ),
    "TOO_MANY_SCHEDULES": Problem("The tenant has as many schedules as one may", "Delete some."),
    "TOO_MANY_EFFECTS": Problem("The task has too many effects", "Split the work into several tasks."),
    "GATEWAY_BUSY": Problem("Too many submissions wait in this gateway", _TRY_AGAIN),
    "GATEWAY_STOPPING": Problem("This gateway stops", "Connect again: another gateway goes on where this one stopped."),
    "SERVICE_UNAVAILABLE": Problem("A service cannot be reached", _TRY_AGAIN),
    "DEADLINE_EXCEEDED": Problem("The call did not finish in time", _TRY_AGAIN),
    "STORE_UNAVAILABLE": Problem("The store cannot be reached", _TRY_AGAIN),
    "STORE_LOGIN_REFUSED": Problem("The store refuses the service's login", "The operator has to mend the service."),
    "STORE_IS_A_CLUSTER": Problem("The store is not set up as told", "The operator has to mend the service."),
    "STORE_TOO_OLD": Problem("The store is too old", "The operator has to replace the store's server."),
    "NOT_REPLICATED": Problem("Too few replicas of the store have the task yet", _TRY_AGAIN),
    "ARCHIVE_UNAVAILABLE": Problem("The archive cannot be reached", _TRY_AGAIN),
    "PLANNER_UNAVAILABLE": Problem("The planner, which keeps the templates, cannot be reached", _TRY_AGAIN),
    "PLANNER_TOO_OLD": Problem("The planner is of an older release", "The operator has to replace it."),
}
"""By reason. What is not here has nothing more to say than its status does."""
