"""The hypervolume: known values, its laws, a Monte Carlo estimate, and Optuna's own plot as oracles."""

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.study.hypervolume import hypervolume, hypervolume_history
from sweeps.study.storage import quiet_optuna

gains = st.lists(st.tuples(*[st.sampled_from([-0.5, 0.0, 0.1, 0.4, 0.7, 1.1])] * 3), max_size=8)


def array(points, objectives=3):
    return np.array(points, dtype=float).reshape(-1, objectives)


@pytest.mark.parametrize(
    ("points", "volume"),
    [
        ([(1, 0.5), (0.5, 1)], 0.75),
        ([(1, 1)], 1.0),
        ([(0.5, 0.5), (0.4, 0.4), (0.5, 0.5)], 0.25),
        ([(1, 0), (2, -1)], 0.0),
        ([(1, 0.2, 0.2), (0.2, 1, 0.2), (0.2, 0.2, 1)], 3 * 0.2 * 0.2 - 2 * 0.2**3),
        ([(0.3,), (0.7,)], 0.7),
    ],
)
def test_known_volumes(points, volume):
    assert hypervolume(np.array(points, dtype=float)) == pytest.approx(volume)


def test_nothing_dominates_nothing():
    assert hypervolume(np.empty((0, 3))) == 0
    assert hypervolume_history(np.empty((0, 3))) == []


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_the_volume_agrees_with_monte_carlo(objectives):
    rng = np.random.default_rng(objectives)
    points, n = rng.uniform(0, 1, (12, objectives)), 200_000
    shots = rng.uniform(0, 1, (n, objectives))
    hit = (shots[:, None] <= points[None]).all(2).any(1).mean()
    assert hypervolume(points) == pytest.approx(hit, abs=4 * (hit * (1 - hit) / n) ** 0.5)


@given(gains)
def test_the_history_never_falls_and_each_step_is_the_volume_so_far(points):
    history = hypervolume_history(array(points))
    assert history == sorted(history)
    assert history == pytest.approx([hypervolume(array(points[: n + 1])) for n in range(len(points))])


@given(gains, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(points, random):
    shuffled = [*points, *points]
    random.shuffle(shuffled)
    assert hypervolume(array(shuffled)) == pytest.approx(hypervolume(array(points)))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_history_is_that_of_optuna():
    from matplotlib import pyplot

    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (15, 3))
    with quiet_optuna():
        study = optuna.create_study(directions=["maximize"] * 3)
    for point in points:
        study.add_trial(optuna.trial.create_trial(values=point.tolist()))
    ax = optuna.visualization.matplotlib.plot_hypervolume_history(study, [0.0, 0.0, 0.0])
    drawn = ax.lines[0].get_ydata()
    pyplot.close(ax.figure)
    np.testing.assert_allclose(hypervolume_history(points), drawn)
