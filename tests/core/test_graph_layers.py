"""Steps lie below what they depend on, in few layers that stay small, with few lines that cross."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from waybill.core.graph_layers import Layers, layers_of
from waybill.core.graph_places import places_of

Dependencies = list[list[int]]


@st.composite
def graphs(draw: st.DrawFn) -> Dependencies:
    """What each step depends on, in no particular order of the steps."""
    count = draw(st.integers(1, 24))
    order = draw(st.permutations(range(count)))
    needed: Dependencies = [[] for _ in range(count)]
    for position, step in enumerate(order):
        before = st.lists(st.sampled_from(order[:position]), unique=True, max_size=4) if position else st.just([])
        needed[step] = draw(before)
    return needed


def reached(dependencies: Dependencies) -> set[tuple[int, int]]:
    """All pairs of which the second waits for the first, be it by way of others."""
    pairs: set[tuple[int, int]] = set()
    for step in range(len(dependencies)):
        waiting = list(dependencies[step])
        while waiting:
            before = waiting.pop()
            if (before, step) not in pairs:
                pairs.add((before, step))
                waiting += dependencies[before]
    return pairs


def drawn(layers: Layers) -> set[tuple[int, int]]:
    """The pairs of steps that the drawn lines join, followed through bends."""
    following = [[end for start, end in layers.edges if start == spot] for spot in range(len(layers.spots))]
    pairs: set[tuple[int, int]] = set()
    for spot, content in enumerate(layers.spots):
        waiting = list(following[spot])
        while waiting and content.step is not None:
            other = waiting.pop()
            step = layers.spots[other].step
            if step is None:
                waiting += following[other]
            else:
                pairs.add((content.step, step))
    return pairs


@given(graphs())
@settings(max_examples=80, deadline=None)
def test_every_line_leads_one_layer_down_and_the_lines_say_who_waits_for_whom(dependencies: Dependencies) -> None:
    layers = layers_of(dependencies, most_in_layer=100, most_layers=100)
    level = {spot: number for number, layer in enumerate(layers.layers) for spot in layer}
    assert sorted(level) == list(range(len(layers.spots)))
    assert all(level[end] == level[start] + 1 for start, end in layers.edges)
    assert sorted(spot.step for spot in layers.spots if not spot.is_bend) == list(range(len(dependencies)))
    pairs = drawn(layers)
    assert pairs <= {(before, step) for step, needed in enumerate(dependencies) for before in needed}
    needed_again: Dependencies = [[] for _ in dependencies]
    for before, step in pairs:
        needed_again[step].append(before)
    assert reached(needed_again) == reached(dependencies)


@given(graphs(), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_whatever_the_graph_what_is_drawn_is_small_and_every_step_is_counted(
    dependencies: Dependencies, most: int, deepest: int
) -> None:
    layers = layers_of(dependencies, most_in_layer=most, most_layers=deepest)
    assert len(layers.layers) <= deepest
    for layer in layers.layers:
        boxes = [layers.spots[spot] for spot in layer if not layers.spots[spot].is_bend]
        assert len(boxes) <= max(most, 2)
    counted = sum(len(spot.folded) + (spot.step is not None) for spot in layers.spots)
    assert counted + layers.cut == len(dependencies)


@given(graphs(), st.integers(1, 12), st.integers(0, 4))
@settings(max_examples=80, deadline=None)
def test_spots_stand_apart_in_their_order_and_within_the_width_if_they_fit(
    dependencies: Dependencies, box: int, gap: int
) -> None:
    layers = layers_of(dependencies, most_in_layer=100, most_layers=100)
    widths = [1 if spot.is_bend else box for spot in layers.spots]
    room = max(sum(widths[spot] + gap for spot in layer) - gap for layer in layers.layers)
    lefts = places_of(layers, widths, gap=gap, width=room)
    for layer in layers.layers:
        for spot, following in pairwise(layer):
            assert lefts[spot] + widths[spot] + gap <= lefts[following]
        assert lefts[layer[0]] >= 0
        assert lefts[layer[-1]] + widths[layer[-1]] <= room


def test_a_join_stands_below_the_middle_of_what_it_joins() -> None:
    layers = layers_of([[], [], [], [0, 1, 2]], most_in_layer=9, most_layers=9)
    lefts = places_of(layers, [5, 5, 5, 5], gap=2, width=40)
    assert lefts[3] == lefts[layers.layers[0][1]]


def test_two_chains_that_could_cross_do_not() -> None:
    layers = layers_of([[], [], [1], [0]], most_in_layer=9, most_layers=9)
    assert layers.layers == ((0, 1), (3, 2))


def test_large_graphs_are_folded_and_cut() -> None:
    chain = [[step - 1] if step else [] for step in range(10_000)]
    wide: Dependencies = [[], *([0] for _ in range(9_998)), list(range(1, 9_999))]
    deep = layers_of(chain, most_in_layer=8, most_layers=60)
    assert (len(deep.spots), deep.cut) == (60, 9_940)
    folded = layers_of(wide, most_in_layer=8, most_layers=60)
    assert [len(spot.folded) for spot in folded.spots if spot.folded] == [9_991]
