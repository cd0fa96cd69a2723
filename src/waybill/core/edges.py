"""The edges of a plan: dependents of each step, and the cycles that would let it wait for itself for ever.

Steps are positions from 0 here. Nothing recurses, so that a chain may be as long as a plan.
"""

from __future__ import annotations

from collections.abc import Sequence


def dependents_of(dependencies: Sequence[Sequence[int]]) -> list[list[int]]:
    """For each step the steps that depend on it, in ascending order."""
    dependents: list[list[int]] = [[] for _ in dependencies]
    for step, needed in enumerate(dependencies):
        for dependency in needed:
            dependents[dependency].append(step)
    return dependents


def cycles_of(dependencies: Sequence[Sequence[int]], dependents: Sequence[Sequence[int]]) -> list[list[int]]:
    """Cycles, no two sharing a step: at least one if there are any, each in the order "needs the next, needs ..."."""
    stuck = _never_ready(dependencies, dependents)
    if not stuck:
        return []
    # Every stuck step needs another stuck step, so following the first of them always ends in a cycle.
    needs = {step: next(needed for needed in dependencies[step] if needed in stuck) for step in stuck}
    walk_of: dict[int, int] = {}
    cycles: list[list[int]] = []
    for start in sorted(stuck):
        step, walked = start, []
        while step not in walk_of:
            walk_of[step] = start
            walked.append(step)
            step = needs[step]
        if walk_of[step] == start:
            cycles.append(_from_smallest(walked[walked.index(step) :]))
    return cycles


def _never_ready(dependencies: Sequence[Sequence[int]], dependents: Sequence[Sequence[int]]) -> set[int]:
    missing = [len(needed) for needed in dependencies]
    ready = [step for step, count in enumerate(missing) if count == 0]
    while ready:
        for dependent in dependents[ready.pop()]:
            missing[dependent] -= 1
            if missing[dependent] == 0:
                ready.append(dependent)
    return {step for step, count in enumerate(missing) if count > 0}


def _from_smallest(cycle: list[int]) -> list[int]:
    start = cycle.index(min(cycle))
    return cycle[start:] + cycle[:start]
