"""Manifold scores against the prdc package, closed forms and laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pipeline.evaluation.metrics.neighbours as neighbours
from pipeline.evaluation.metrics.neighbours import (
    class_coverage,
    coverage,
    covered,
    distance_blocks,
    expected_coverage,
    knn_radii,
    manifold_scores,
    nearest_distances,
)


def normal(n, d, seed=0, dtype=torch.float32):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def prdc_scores(real, generated, k):
    from prdc import compute_prdc

    return compute_prdc(real.double().numpy(), generated.double().numpy(), nearest_k=k)


def test_distances_agree_with_plain_differences_and_a_copy_is_at_zero():
    a, b = normal(40, 300) + 100, normal(30, 300, 1) + 100
    expected = torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(torch.cat(list(distance_blocks(a, b))).double(), expected, rtol=1e-6, atol=0)
    assert torch.cat(list(distance_blocks(a, a))).diagonal().abs().max() == 0


def test_scores_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    real, generated = normal(101, 8), normal(77, 8, 1)
    whole = manifold_scores(real, generated, k=3), coverage(real, generated, k=3)
    monkeypatch.setattr(neighbours, "BLOCK", 500)
    assert (manifold_scores(real, generated, k=3), coverage(real, generated, k=3)) == whole


def test_radii_agree_with_scikit_learn():
    from sklearn.neighbors import NearestNeighbors

    real = normal(200, 16)
    distances, _ = NearestNeighbors(n_neighbors=6).fit(real.double().numpy()).kneighbors()
    torch.testing.assert_close(knn_radii(real, 6).double(), torch.from_numpy(distances[:, -1]), rtol=1e-6, atol=0)


def test_radii_on_a_line_leave_the_point_itself_out():
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert knn_radii(line, 1).tolist() == [1, 1, 2, 4]
    assert knn_radii(line, 2).tolist() == [3, 2, 3, 6]


def test_a_ball_is_open():
    line = torch.tensor([[0.0], [1.0]])
    radii = knn_radii(line, 1)
    assert covered(line, radii, torch.tensor([[2.0]])).tolist() == [False, False]
    assert covered(line, radii, torch.tensor([[1.999]])).tolist() == [False, True]


def test_a_generated_copy_of_the_kth_neighbour_lies_on_the_ball_not_in_it():
    real = normal(500, 300) + 50
    distances = torch.cdist(real.double(), real.double(), compute_mode="donot_use_mm_for_euclid_dist")
    subset = real[::3]
    expected = distances[:, ::3].amin(1) < distances.sort(1).values[:, 5]
    assert covered(real, knn_radii(real, 5), subset).tolist() == expected.tolist()


@given(st.integers(0, 2**31), st.integers(8, 60), st.integers(1, 40), st.sampled_from([1e-3, 1.0, 1e3]))
def test_real_images_against_their_own_copy_have_coverage_exactly_one(seed, n, d, offset):
    real = normal(n, d, seed) + offset
    assert coverage(real, real.clone(), k=5) == 1


def test_features_of_a_relu_network_against_their_own_copy_have_coverage_exactly_one():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 1568), nn.ReLU())
    with torch.no_grad():
        real = net(normal(400, 64)) * 30
    assert coverage(real, real.clone()) == 1


@pytest.mark.parametrize("k", [1, 5])
def test_manifold_scores_agree_with_prdc(k):
    real, generated = normal(700, 24), 0.9 * normal(600, 24, 1) + 0.1
    scores, expected = manifold_scores(real, generated, k=k), prdc_scores(real, generated, k)
    for name, value in expected.items():
        assert getattr(scores, name) == pytest.approx(value, abs=1e-12), name
    assert coverage(real, generated, k=k) == scores.coverage


@pytest.mark.slow
def test_manifold_scores_of_one_gaussian_in_64_dimensions():
    # The values are one draw, like ours. Over 8 draws the standard deviations are .0051, .0060, .026 and .0041 (few
    # points are neighbours of many in 64 dimensions): the tolerances are 3 of them, for a difference of two draws.
    scores = manifold_scores(normal(10_000, 64), normal(10_000, 64, 1))
    assert scores.precision == pytest.approx(0.681, abs=0.022)
    assert scores.recall == pytest.approx(0.670, abs=0.026)
    assert scores.density == pytest.approx(1.033, abs=0.11)
    assert scores.coverage == pytest.approx(0.968, abs=0.0175)


@pytest.mark.parametrize(
    ("n_real", "n_generated", "k", "value"),
    [(1000, 1000, 5, 0.96898), (1000, 1000, 3, 0.87538), (892, 500, 5, 0.89260)],
)
def test_expected_coverage_of_known_sizes(n_real, n_generated, k, value):
    assert expected_coverage(n_real, n_generated, k) == pytest.approx(value, abs=1e-5)


def test_coverage_of_one_distribution_averages_to_the_closed_form():
    draws = [coverage(normal(90, 3, s), normal(50, 3, 1000 + s), k=3) for s in range(300)]
    mean, error = torch.tensor(draws).mean().item(), torch.tensor(draws).std().item() / 300**0.5
    assert mean == pytest.approx(expected_coverage(90, 50, 3), abs=4 * error)


def test_coverage_falls_with_collapse_and_with_noise_far_away():
    real = normal(300, 10)
    full, half, one = (
        coverage(real, generated) for generated in (normal(300, 10, 1), normal(300, 10, 1)[:20], real[:1])
    )
    assert full > half > one
    assert coverage(real, normal(300, 10) + 100) == 0


def test_density_rewards_crowding_but_coverage_does_not():
    real = normal(300, 10)
    crowded = 0.1 * normal(300, 10, 1)
    honest, gamed = manifold_scores(real, normal(300, 10, 2)), manifold_scores(real, crowded)
    assert gamed.density > 2 > honest.density
    assert gamed.coverage < honest.coverage


def test_class_coverage_of_shuffled_labels_is_low_while_pooled_coverage_is_not():
    centres = 20 * torch.eye(4, 6).repeat_interleave(100, 0)
    labels = torch.arange(4).repeat_interleave(100)
    real, generated, held_out = (centres + normal(400, 6, s) for s in range(3))
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    right = class_coverage((real, labels), (generated, labels), (held_out, labels), classes=4)
    shuffled = class_coverage((real, labels), (generated[order], labels), (held_out, labels), classes=4)
    assert right.macro == pytest.approx(sum(right.per_class) / 4)
    assert right.ceiling == pytest.approx(expected_coverage(100, 100, 5), abs=0.03)
    assert right.relative == pytest.approx(1, abs=0.05)
    assert shuffled.ceiling == right.ceiling
    assert shuffled.macro == pytest.approx(expected_coverage(100, 25, 5), abs=0.1)
    assert shuffled.relative == shuffled.macro / shuffled.ceiling
    assert coverage(real, generated[order]) > 0.93


def test_class_coverage_of_overlapping_classes_takes_each_class_alone():
    labels = torch.arange(3).repeat_interleave(40)
    real, generated, held_out = (normal(120, 5, s) for s in range(3))
    scores = class_coverage((real, labels), (generated, labels), (held_out, labels), classes=3, k=2)
    alone = [coverage(real[labels == c], generated[labels == c], k=2) for c in range(3)]
    assert scores.per_class == alone


def test_relative_coverage_refuses_other_sizes_of_held_out_images():
    labels = torch.arange(2).repeat_interleave(10)
    with pytest.raises(AssertionError, match=r"sizes per class differ: \[10, 10\] generated and \[10, 9\]"):
        class_coverage((normal(20, 3), labels), (normal(20, 3), labels), (normal(19, 3), labels[:19]), classes=2, k=3)


def test_nearest_distances_are_to_the_nearest():
    assert nearest_distances(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [4.5]])).tolist() == [1, 0.5]
