"""Cycles in a graph of steps."""

from hypothesis import given
from hypothesis import strategies as st

from waybill.core.edges import cycles_of, dependents_of

GRAPHS = st.integers(1, 12).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, size - 1), unique=True), min_size=size, max_size=size)
)


def cycles(dependencies: list[list[int]]) -> list[list[int]]:
    return cycles_of(dependencies, dependents_of(dependencies))


def test_two_cycles_apart_are_both_found() -> None:
    assert cycles([[1], [0], [], [4], [2, 3]]) == [[0, 1], [3, 4]]


def test_steps_that_only_wait_for_a_cycle_are_not_on_it() -> None:
    assert cycles([[1], [2], [1]]) == [[1, 2]]


def test_a_ring_of_ten_thousand_is_one_cycle() -> None:
    assert cycles([[(step + 1) % 10_000] for step in range(10_000)]) == [list(range(10_000))]


def reaches_itself(dependencies: list[list[int]], start: int) -> bool:
    seen, stack = set(), list(dependencies[start])
    while stack:
        step = stack.pop()
        if step not in seen:
            seen.add(step)
            stack.extend(dependencies[step])
    return start in seen


@given(GRAPHS)
def test_a_cycle_is_found_exactly_when_a_step_can_reach_itself(dependencies: list[list[int]]) -> None:
    found = cycles(dependencies)
    assert bool(found) == any(reaches_itself(dependencies, step) for step in range(len(dependencies)))
    for cycle in found:
        for step, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert following in dependencies[step]
