"""Plans that adapt: conditions of steps to be decided, and plans to be revised."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from waybill.core import limits
from waybill.core.patch import LinkedPatch
from waybill.core.plan import Condition
from waybill.core.task import Event, Failure
from waybill.errors import FailedPrecondition, ResourceExhausted
from waybill.ledger import packing, unpacking
from waybill.ledger.records import DecisionLease, RevisionLease
from waybill.ledger.spending import Spending


class Revising(Spending):
    """The calls that decide and revise, in one partition."""

    async def lease_decisions(self, lease_ms: int, limit: int) -> list[DecisionLease]:
        """Take steps whose conditions are to be looked at; each comes again after `lease_ms` if undecided."""
        leases: list[DecisionLease] = []
        known: dict[tuple[str, int], bytes] = {}  # many steps may look at one large output
        for task, tenant, number, turn, conditions in await self._call("lease_decisions", lease_ms, limit):
            task_id = task.decode()
            wanted = tuple(Condition(path.decode("utf-8", "replace"), root) for path, root in conditions)
            roots = sorted({condition.number for condition in wanted})
            for root in roots:
                if (task_id, root) not in known:
                    known[task_id, root] = await self._root(task_id, root)
            inputs = {root: known[task_id, root] for root in roots}
            leases.append(DecisionLease(task_id, tenant.decode(), number, turn, wanted, inputs))
        return leases

    async def _root(self, task_id: str, number: int) -> bytes:
        """What a condition on step `number` is about; 0 is the task."""
        if number == 0:
            return unpacking.task_root(*await self._fields(task_id, ["goal", "input"]))
        return (await self.outputs(task_id, [number]))[0]

    async def undecided(self, task_id: str, numbers: Sequence[int]) -> set[int]:
        """Which steps of a task wait for somebody to look at their conditions."""
        if not numbers:
            return set()
        members = [f"{task_id}:{number}" for number in numbers]
        places = await self._store.command("ZMSCORE", self._key("decisions"), *members)
        return {number for number, place in zip(numbers, places, strict=True) if place is not None}

    async def decide_step(self, task_id: str, number: int, turn: int, holds: bool, note: str = "") -> bool:
        """Let a step go on whose conditions hold, or skip it, telling why in `note`; False if nothing is to be decided.
        May be repeated.
        """
        return bool(await self._call("decide_step", task_id, number, turn, int(holds), note))

    async def lease_revisions(self, lease_ms: int, limit: int) -> list[RevisionLease]:
        """Take tasks whose plan is to be revised; each comes again after `lease_ms` if undecided."""
        rows = await self._call("lease_revisions", lease_ms, limit)
        return [
            RevisionLease(
                task=task.decode(),
                tenant=tenant.decode(),
                goal=goal.decode(),
                paths=msgspec.json.decode(paths or b"[]", type=tuple[str, ...]),
                traceparent=trace.decode(),
                revision=revision,
                round=round_,
                failed=tuple(failed),
                number=failed[0] if failed else 0,
                failure=unpacking.failure_of(failure),
            )
            for task, tenant, goal, paths, trace, revision, round_, failed, failure in rows
        ]

    async def postpone_revision(self, task_id: str, round_: int, delay_ms: int, note: str) -> bool:
        """Offer a task for revision again after `delay_ms`; the note tells people why it waits."""
        return bool(await self._call("postpone_revision", task_id, round_, delay_ms, note))

    async def patch_plan(
        self, task_id: str, expected_revision: int, round_: int, failed: Sequence[int], patch: LinkedPatch
    ) -> bool:
        """Revise a plan; False if the task is not at that revision and round (any more), or is paused.

        `failed` are the failed steps that the patch makes up for. Raises FailedPrecondition if the plan does not allow
        the patch, as when a step has started meanwhile that it drops, and ResourceExhausted if the store is full. After
        Unavailable it may be made again.
        """
        reply = await self._call(
            "patch_plan", task_id, expected_revision, round_, len(failed), *failed, *packing.patch_arguments(patch)
        )
        if reply[0] == b"refused":
            raise FailedPrecondition(f"the plan does not allow the patch: {reply[1].decode()}", reason="PATCH_REFUSED")
        if reply[0] == b"full":
            raise ResourceExhausted("the store is full; try again when tasks have ended or expired")
        return bool(reply[0] == b"ok")

    async def decline_revision(self, task_id: str, round_: int, failure: Failure) -> bool:
        """Stop a task that no revision can be made for; False if none waits in that round. May be repeated."""
        return bool(await self._call("decline_revision", task_id, round_, msgspec.json.encode(failure)))

    async def tell_planning(self, task_id: str, round_: int, events: Sequence[Event]) -> bool:
        """Add what the planner tells; False if it no longer works on the task in that round. Not to be repeated: after
        Unavailable it may have been added.
        """
        return bool(
            await self._call("tell_planning", task_id, round_, limits.MAX_TASK_EVENTS, *packing.event_arguments(events))
        )
