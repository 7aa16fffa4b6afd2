"""Which trials go on at a rung, against ranks taken by brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.study.config import rung_epochs
from sweeps.study.hypervolume import hypervolume
from sweeps.study.stopping import fronts, goes_on, greedy_order

GRID = [-0.25, 0.0, 0.25, 0.5, 0.75, 1.0]
"""Volumes of boxes between these are exact in floating point, so that ties are ties."""


def values(objectives: int, most: int = 9) -> st.SearchStrategy[np.ndarray]:
    point = st.tuples(*[st.sampled_from(GRID)] * objectives)
    return st.lists(point, min_size=1, max_size=most).map(lambda p: np.array(p, dtype=float).reshape(-1, objectives))


several = st.sampled_from([1, 2, 3]).flatmap(values)


def dominates(a, b) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def ranked(points: list[tuple]) -> list[int]:
    """Positions from the best to the worst, by the definition and nothing else."""
    left, order = list(range(len(points))), []
    while left:
        front = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        left = [i for i in left if i not in front]
        taken: list[int] = []
        while front:
            volumes = [hypervolume(np.array([points[j] for j in [*taken, i]])) for i in front]
            taken.append(front.pop(volumes.index(max(volumes))))  # the first of equals: the lowest number
        order += taken
    return order


@given(several, st.sampled_from([2, 3, 4]))
def test_a_trial_goes_on_if_and_only_if_its_rank_is_among_the_best(gains, eta):
    order = ranked([tuple(row) for row in gains])
    own = len(gains) - 1
    expected = len(gains) < eta or order.index(own) < math.ceil(len(gains) / eta)
    assert goes_on(gains[-1], gains[:-1], eta=eta) == expected


@given(several)
def test_the_fronts_are_those_of_the_definition(gains):
    points = [tuple(row) for row in gains]
    found = [set(front.tolist()) for front in fronts(gains)]
    assert sorted(i for front in found for i in front) == list(range(len(points)))
    for k, front in enumerate(found):
        rest = [i for later in found[k:] for i in later]
        assert front == {i for i in rest if not any(dominates(points[j], points[i]) for j in rest)}


@given(several)
def test_the_greedy_order_takes_what_adds_most_each_time(gains):
    order = list(greedy_order(gains))
    assert sorted(order) == list(range(len(gains)))
    for k, position in enumerate(order):
        volumes = {i: hypervolume(gains[[*order[:k], i]]) for i in order[k:]}
        best = max(volumes.values())
        assert position == min(i for i, volume in volumes.items() if volume == best)


def test_the_lazy_greedy_order_is_the_plain_one_on_a_front_of_a_hundred():
    rng = np.random.default_rng(0)
    directions = np.abs(rng.normal(size=(100, 3)))
    gains = directions / np.linalg.norm(directions, axis=1, keepdims=True)  # on a sphere: nobody dominates anybody
    order, taken, left = list(greedy_order(gains)), [], list(range(100))
    for _ in range(12):
        taken.append(max(left, key=lambda i: hypervolume(gains[[*taken, i]])))
        left.remove(taken[-1])
    assert order[:12] == taken


@given(several, st.sampled_from([2, 3, 4]))
def test_a_trial_that_dominates_all_others_always_goes_on(elders, eta):
    own = elders.max(0) + 0.25
    assert goes_on(own, elders, eta=eta)


@given(several, st.sampled_from([2, 3]))
def test_a_trial_that_all_others_dominate_stops_as_soon_as_there_are_eta(elders, eta):
    own = elders.min(0) - 0.25
    assert goes_on(own, elders, eta=eta) == (len(elders) + 1 < eta)


@given(values(1), st.sampled_from([2, 3]))
def test_one_objective_is_the_same_rule_better_values_first_and_elders_before_equals(elders, eta):
    n = len(elders) + 1
    for own in GRID:
        better = int((elders[:, 0] >= own).sum())
        assert goes_on(np.array([own]), elders, eta=eta) == (n < eta or better < math.ceil(n / eta))


@given(several, st.randoms(use_true_random=False))
def test_the_scale_of_an_axis_and_the_order_of_the_objectives_do_not_matter(gains, random):
    axes = list(range(gains.shape[1]))
    random.shuffle(axes)
    scaled = gains[:, axes] * [2.0, 0.5, 4.0][: len(axes)]
    assert goes_on(scaled[-1], scaled[:-1], eta=3) == goes_on(gains[-1], gains[:-1], eta=3)


def test_priorities_are_ranks_and_not_positions_in_a_sorted_list():
    """Sorted, the positions are [2, 0, 1]; their ranks are [1, 2, 0]: who takes one for the other stops the best."""
    gains = np.array([[0.5], [0.3], [0.9]])
    assert goes_on(gains[2], gains[:2], eta=3)
    assert not goes_on(gains[0], gains[1:], eta=3)


def test_an_extreme_of_the_front_goes_on_before_its_crowded_middle():
    crowd = np.array([[0.5, 0.5], [0.51, 0.49], [0.49, 0.51], [0.52, 0.48], [0.48, 0.52]])
    assert goes_on(np.array([1.0, 0.3]), crowd, eta=3)
    assert not goes_on(np.array([0.505, 0.495]), np.vstack([crowd, [[1.0, 0.3], [0.3, 1.0]]]), eta=3)


def test_a_value_that_is_not_finite_is_the_worst():
    elders = np.array([[0.1, 0.1], [0.2, 0.2]])
    assert not goes_on(np.array([-np.inf, 0.15]), elders, eta=3)


@pytest.mark.parametrize(
    ("epochs", "eta", "first", "expected"),
    [
        (20, 3, None, (2, 7)),
        (60, 3, None, (7, 20)),
        (10, 3, None, (1, 3)),
        (9, 3, None, (1, 3)),
        (4, 3, None, (1,)),  # 4/9 of an epoch is none
        (2, 3, None, (1,)),
        (1, 3, None, ()),
        (20, 2, None, (5, 10)),
        (20, 3, 1, (1, 3, 9)),
        (20, 3, 7, (7,)),
        (27, 3, 1, (1, 3, 9)),
        (20, 4, 19, (19,)),
    ],
)
def test_rungs_are_eta_times_apart_and_none_is_at_the_end(epochs, eta, first, expected):
    assert rung_epochs(epochs, eta=eta, first=first) == expected
