"""EM for several classes at once: it recovers known densities, and is as good as scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from pipeline.evaluation.mixtures import FLOOR, class_gaussians, fit_mixtures, side_by_side


def normal(n, mean, root, seed=0):
    rng = np.random.default_rng(seed)
    return np.asarray(mean) + rng.standard_normal((n, len(mean))) @ np.asarray(root).T


def beside(*codes_by_class, **options):
    """Codes side by side, and as one tensor with labels."""
    z = torch.cat([torch.as_tensor(codes, dtype=torch.float32) for codes in codes_by_class])
    y = torch.cat([torch.full((len(codes),), label) for label, codes in enumerate(codes_by_class)])
    return side_by_side(z, y, classes=len(codes_by_class), **options), z, y


def covariances(mixture):
    return mixture.roots @ mixture.roots.mT


ROOT = [[2.0, 0.0], [1.0, 0.5]]
BLOBS = np.concatenate([normal(600, [-4, 0], [[0.5, 0], [0, 1]]), normal(1400, [4, 1], [[1, 0], [0.5, 0.5]], seed=1)])


def test_classes_side_by_side_hold_every_code_once():
    codes, z, y = beside(BLOBS[:5], BLOBS[:9] + 50)
    assert codes.sizes.tolist() == [5, 9]
    for label in range(2):
        own = codes.x[label].mT[codes.weights[label] > 0]
        assert own.sort(0).values.equal(z[y == label].sort(0).values)


def test_one_gaussian_is_the_closed_form_with_a_few_images_of_n_0_1_besides():
    parts = [normal(500, [3, -1], ROOT), normal(800, [0, 5], np.eye(2), seed=1)]
    mean, root = class_gaussians(beside(*parts)[0])
    for label, codes in enumerate(parts):
        n, scatter = len(codes), np.cov(codes.T, bias=True) * len(codes)
        np.testing.assert_allclose(mean[label], codes.mean(0), atol=1e-4)
        expected = (scatter + 2 * np.eye(2)) / (n + 2) + FLOOR * np.eye(2)
        np.testing.assert_allclose(root[label] @ root[label].mT, expected, atol=1e-3)


def test_two_separate_blobs_are_found_with_their_shares():
    mixture = fit_mixtures(beside(BLOBS)[0], [2], seed=0)
    left, right = mixture.means[0, :, 0].argsort().tolist()
    assert mixture.weights[0, [left, right]].tolist() == pytest.approx([0.3, 0.7], abs=1e-3)
    for component, codes in ((left, BLOBS[:600]), (right, BLOBS[600:])):
        np.testing.assert_allclose(mixture.means[0, component], codes.mean(0), atol=2e-2)
        n, scatter = len(codes), len(codes) * np.cov(codes.T, bias=True)
        few = 2 + 2  # images of half the class's volume, which are all of its covariance by half in two dimensions
        expected = (scatter + few * np.cov(BLOBS.T, bias=True) / 2) / (n + few)
        np.testing.assert_allclose(covariances(mixture)[0, component], expected, atol=1e-2)


@pytest.mark.parametrize("components", [2, 5])
def test_the_likelihood_is_that_of_scikit_learn(components):
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((components, 4)) * 3
    draw = lambda n: centres[rng.integers(components, size=n)] + rng.standard_normal((n, 4)) * 0.7  # noqa: E731
    train, held_out = draw(4000), torch.as_tensor(draw(4000), dtype=torch.float32)
    ours = fit_mixtures(beside(train)[0], [components], seed=0)
    theirs = GaussianMixture(components, n_init=3, random_state=0).fit(train)
    label = torch.zeros(len(held_out), dtype=torch.long)
    # Another local optimum may be a little worse; a wrong step of EM is nats away.
    assert ours.log_prob(held_out, label).mean() > theirs.score(held_out.numpy()) - 0.1


def test_several_draws_of_an_image_count_as_one_image():
    once, twice = (class_gaussians(beside(*[BLOBS] * k, draws=1)[0]) for k in (1, 1))
    doubled = class_gaussians(side_by_side(*_repeated(BLOBS, 2), classes=1, draws=2))
    torch.testing.assert_close(doubled, once)
    torch.testing.assert_close(twice, once)


def _repeated(codes, draws):
    z = torch.as_tensor(codes, dtype=torch.float32).repeat(draws, 1)
    return z, torch.zeros(len(z), dtype=torch.long)


def test_a_fit_is_the_same_every_time():
    first, again = (fit_mixtures(beside(BLOBS, BLOBS + 9)[0], [3, 3], seed=0) for _ in range(2))
    for name in ("weights", "means", "roots"):
        assert torch.equal(getattr(first, name), getattr(again, name))


def test_a_class_with_fewer_components_never_draws_from_the_rest():
    mixture = fit_mixtures(beside(BLOBS[:9] + 50, BLOBS)[0], [2, 4], seed=0)
    assert (mixture.weights[0] > 0).tolist() == [True, True, False, False]
    assert (mixture.weights[1] > 0).all()
    u = torch.linspace(0, 1 - 2**-24, 5000)
    z = mixture.draw(torch.zeros(5000, 2), u, torch.zeros(5000, dtype=torch.long))
    assert z[:, 0].min() > 40


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((2, 3)),
        np.zeros((200, 3)),
        np.concatenate([np.zeros((100, 3)), np.ones((100, 3))]),
        normal(200, [1, 2, 7], np.diag([1, 1, 0])),
        normal(200, [0, 0, 0], np.outer([1, 1, 1], [1, 0, 0])),
        normal(2, [0, 0, 0], np.eye(3)),
        1e3 * normal(200, [0, 0, 0], np.diag([1, 1e-6, 0])),
    ],
    ids=["two equal", "all equal", "two places", "constant dimension", "on a line", "two codes", "far apart"],
)
@pytest.mark.parametrize("components", [1, 5])
def test_degenerate_codes_give_a_density_that_can_be_drawn_from(codes, components):
    mixture = fit_mixtures(beside(codes)[0], [components], seed=0)
    for root in mixture.roots[0]:
        assert torch.equal(root, root.tril())
        assert torch.linalg.svdvals(root.double()).min() >= 0.9 * FLOOR**0.5
    assert mixture.weights.sum().item() == pytest.approx(1)
    assert all(torch.isfinite(getattr(mixture, name)).all() for name in ("weights", "means", "roots"))
