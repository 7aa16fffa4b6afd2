"""Active units, collapse and label leak on latents whose truth is known."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.metrics.latent import active_units, is_collapsed, label_leak
from pipeline.models.losses import gaussian_kl_per_dim


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def labels_of(n, classes=10, seed=0):
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def test_active_units_are_those_whose_mean_moves():
    mu = normal(5000, 4) * torch.tensor([1.0, 0.2, 0.05, 0.0]) + torch.tensor([0.0, 0.0, 9.0, 9.0])
    assert active_units(mu) == 2
    assert active_units(mu, threshold=0.001) == 3


def test_a_posterior_equal_to_the_prior_is_collapsed():
    mu, logvar = torch.zeros(100, 5), torch.zeros(100, 5)
    assert active_units(mu) == 0
    assert is_collapsed(gaussian_kl_per_dim(mu, logvar).mean(0), active_units(mu))


@pytest.mark.parametrize(
    ("kl_per_dim", "active", "collapsed"),
    [([3.0, 0.0], 1, False), ([0.3, 0.3], 1, False), ([0.2, 0.2], 2, True), ([5.0, 5.0], 0, True)],
)
def test_collapse_is_no_active_unit_or_less_than_half_a_nat(kl_per_dim, active, collapsed):
    assert is_collapsed(torch.tensor(kl_per_dim), active) is collapsed


@pytest.fixture(scope="module")
def random_leak():
    return label_leak(
        normal(2500, 20), labels_of(2500), normal(2500, 20, 1), labels_of(2500, seed=1), classes=10, seed=0
    )


def test_random_z_leaks_nothing(random_leak):
    assert random_leak.linear_accuracy == pytest.approx(0.1, abs=0.03)
    assert random_leak.mlp_accuracy == pytest.approx(0.1, abs=0.03)
    assert random_leak.information_nats == pytest.approx(0, abs=0.01)


def test_the_floor_is_what_a_probe_loses_by_being_fitted_to_few_images():
    """To labels that z knows nothing of, the fitted probabilities are worse than the shares by p / 2N nats."""
    n, excess = 1_000, []
    z, labels = normal(20_000, 10, 9), labels_of(20_000, seed=9)
    for seed in range(8):
        probe = LogisticRegression(C=100).fit(normal(n, 10, seed).numpy(), labels_of(n, seed=seed).numpy())
        chosen = probe.predict_log_proba(z.numpy())[np.arange(20_000), labels.numpy()]
        excess.append(-float(chosen.mean()) - math.log(10))
    floor = label_leak(normal(n, 10), labels_of(n), z[:100], labels[:100], classes=10, seed=0).floor_nats
    assert floor == 9 * 11 / (2 * n)
    assert sum(excess) / 8 == pytest.approx(floor, rel=0.15)


def test_a_leak_below_the_floor_is_read_as_none_and_the_floor_says_so():
    """Each class has a mean of its own: at a distance of .57, .16 nats. With 350 images of it nothing is seen."""
    means = normal(10, 20, 5)
    means *= 0.57 / means.norm(dim=1, keepdim=True)

    def leak(n):
        labels = [labels_of(n, seed=seed) for seed in (1, 2)]
        z = [normal(n, 20, seed) + means[own] for seed, own in zip((3, 4), labels, strict=True)]
        return label_leak(z[0], labels[0], z[1], labels[1], classes=10, seed=0)

    few, many = leak(350), leak(20_000)
    assert few.information_nats < 0.05
    assert many.information_nats > 0.12
    assert many.floor_nats < 0.01 < many.information_nats < few.floor_nats


def test_random_z_with_the_class_sizes_of_mnist_scores_about_the_commonest_class():
    counts = torch.tensor([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    labels = torch.arange(10).repeat_interleave(counts)
    labels = labels[torch.randperm(10_000, generator=torch.Generator().manual_seed(0))]
    z = normal(10_000, 2)
    leak = label_leak(z[:5000], labels[:5000], z[5000:], labels[5000:], classes=10, seed=0)
    assert leak.linear_accuracy == pytest.approx(0.1135, abs=0.012)
    assert leak.mlp_accuracy == pytest.approx(0.1135, abs=0.015)
    assert leak.information_nats == pytest.approx(0, abs=0.005)


def test_one_hot_z_leaks_the_whole_label():
    fit, evaluation = labels_of(2500), torch.arange(10).repeat_interleave(100)
    leak = label_leak(torch.eye(10)[fit], fit, torch.eye(10)[evaluation], evaluation, classes=10, seed=0)
    assert (leak.linear_accuracy, leak.mlp_accuracy) == (1, 1)
    assert leak.information_nats == pytest.approx(math.log(10), abs=0.003)
    assert leak.information_nats <= math.log(10)


def test_information_of_two_gaussians_is_a_lower_bound_close_to_the_truth():
    # z = +-1 + noise: I(z;c) = h(z) - h(noise) by quadrature.
    labels = labels_of(20_000, classes=2)
    z = (2.0 * labels - 1)[:, None] + normal(20_000, 1)
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    density = torch.stack([(-0.5 * (grid - m).square()).exp() / math.sqrt(2 * math.pi) for m in (-1, 1)]).mean(0)
    truth = -torch.trapezoid(density.xlogy(density), grid).item() - 0.5 * math.log(2 * math.pi * math.e)
    leak = label_leak(z[:10_000], labels[:10_000], z[10_000:], labels[10_000:], classes=2, seed=0)
    assert leak.information_nats == pytest.approx(truth, abs=0.015)


def test_a_leak_that_no_line_can_read_is_read_by_the_hidden_layer():
    z = normal(6000, 2)
    labels = (z[:, 0] * z[:, 1] > 0).long()
    leak = label_leak(z[:3000], labels[:3000], z[3000:], labels[3000:], classes=2, seed=0)
    assert leak.linear_accuracy < 0.6
    assert leak.mlp_accuracy > 0.9
    assert leak.information_nats > 0.4


def test_the_same_seed_gives_the_same_leak(random_leak):
    again = label_leak(
        normal(2500, 20), labels_of(2500), normal(2500, 20, 1), labels_of(2500, seed=1), classes=10, seed=0
    )
    assert again == random_leak


def test_a_constant_dimension_and_an_unseen_class_are_no_obstacle():
    z, labels = normal(400, 3) * torch.tensor([1.0, 1.0, 0.0]), labels_of(400, classes=4)
    leak = label_leak(z[:200], labels[:200].clamp(max=2), z[200:], labels[200:], classes=4, seed=0)
    assert leak.information_nats == 0


def test_a_probe_that_did_not_converge_says_so_instead_of_warning():
    labels = labels_of(500)
    z = torch.eye(10)[labels] + 0.5 * normal(500, 10)
    hurried, patient = (label_leak(z, labels, z, labels, classes=10, seed=0, max_iterations=n) for n in (1, 2000))
    assert not hurried.linear_converged
    assert patient.linear_converged


def test_the_hidden_layer_stops_before_it_learns_noise_by_heart():
    z = normal(6000, 10)
    flipped = torch.rand(6000, generator=torch.Generator().manual_seed(1)) < 0.25
    labels = ((z[:, 0] * z[:, 1] > 0) ^ flipped).long()
    leak = label_leak(z[:1000], labels[:1000], z[1000:], labels[1000:], classes=2, seed=0)
    # The truth is ln 2 - H(1/4) = 0.131 nats; all 200 epochs would leave 0.008 of the bound, the best one has 0.032.
    assert 0.02 < leak.information_nats < 0.131
