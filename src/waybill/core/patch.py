"""A change of a plan that runs: data, like the plan. It only adds; what runs or has ended stays as it is.

`waybill.core.patching` checks one against its plan and gives it edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from waybill.core.plan import LinkedStep, PlanStep


@dataclass(frozen=True, slots=True)
class Patch:
    """What changes. `drop` names steps that have not started and never shall. `substitutes` maps a step that failed, is
    dropped or asks for the change to the new step that takes its place: what depends on the old one depends on the new
    one instead, and gets its output in place of the old one's.
    """

    steps: tuple[PlanStep, ...] = ()
    drop: tuple[str, ...] = ()
    substitutes: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LinkedPatch:
    """A patch with its edges. Steps of the plan are their positions, from 1; new steps are negative, -1 for the first:
    the ledger gives them the next positions. `dependents` of new steps are left empty, for the ledger to fill. `known`
    is how many steps the plan had when the patch was checked against it: the ledger checks against those added since.
    """

    steps: tuple[LinkedStep, ...] = ()
    drop: tuple[int, ...] = ()
    substitutes: tuple[tuple[int, int], ...] = ()
    reason: str = ""
    known: int = 0
