"""Priors fitted after training: they recover known densities, draw what they say, and change nothing else."""

import warnings

import numpy as np
import pytest
import sklearn.mixture
import torch
from helpers import quick_config

from pipeline.config.sections import SamplingConfig
from pipeline.data.splits import Split
from pipeline.errors import ConfigError
from pipeline.evaluation.priors import ClassPrior, fit_prior, sampled_codes
from pipeline.evaluation.scoring import EXPOST
from pipeline.grids import read_grid
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.sampling import balanced_labels, conditional_samples, draw_z, fixed_noise, generation_grid
from pipeline.runs.execute import execute
from pipeline.stages.context import Context
from pipeline.stages.graph import SCORE, run_key
from pipeline.stages.score import expost

GAUSSIAN = SamplingConfig(prior="gaussian")
ALMOST_ONE = 1 - 2**-24
"""The largest number that torch.rand gives."""


class KnownCodes(torch.nn.Module):
    """An encoder whose q(z|x,c) is given for each image; two pixels hold the number of the image."""

    def __init__(self, mu, logvar=-60.0):
        super().__init__()
        self.mu, self.logvar, self.encoded = mu, logvar, 0

    def encode(self, x, y):
        numbers = (x * 255).round().long()
        self.encoded += len(x)
        mu = self.mu[numbers[:, 0] * 256 + numbers[:, 1]]
        return mu, torch.full_like(mu, self.logvar)


def known(*codes_by_class, logvar=-60.0):
    """A model and a split whose codes are these, class by class."""
    codes = torch.cat([torch.as_tensor(codes, dtype=torch.float32) for codes in codes_by_class])
    number = torch.arange(len(codes))
    images = torch.stack([number // 256, number % 256], dim=1)[:, None].to(torch.uint8)
    labels = torch.cat([torch.full((len(codes),), label) for label, codes in enumerate(codes_by_class)])
    return KnownCodes(codes, logvar), Split(images, labels)


def normal(n, mean, root, seed=0):
    rng = np.random.default_rng(seed)
    return np.asarray(mean) + rng.standard_normal((n, len(mean))) @ np.asarray(root).T


def covariances(prior):
    return prior.roots @ prior.roots.mT


ROOT = [[2.0, 0.0], [1.0, 0.5]]
BLOBS = np.concatenate([normal(600, [-4, 0], [[0.5, 0], [0, 1]]), normal(1400, [4, 1], [[1, 0], [0.5, 0.5]], seed=1)])


# ---- the fit


def test_a_gaussian_has_the_mean_and_the_covariance_of_each_classes_codes():
    parts = [normal(500, [3, -1], ROOT), normal(800, [0, 5], np.eye(2), seed=1)]
    prior = fit_prior(*known(*parts), GAUSSIAN, classes=2)
    assert prior.weights.tolist() == [[1.0], [1.0]]
    for label, codes in enumerate(parts):
        np.testing.assert_allclose(prior.means[label, 0], codes.mean(0), atol=1e-4)
        np.testing.assert_allclose(covariances(prior)[label, 0], np.cov(codes.T, bias=True), atol=2e-4)


def test_codes_are_sampled_from_the_posterior_so_its_spread_is_in_the_density():
    model, split = known(normal(4000, [0, 0], np.eye(2)), logvar=np.log(4.0))
    prior = fit_prior(model, split, GAUSSIAN, classes=1)
    np.testing.assert_allclose(covariances(prior)[0, 0], 5 * np.eye(2), atol=0.5)  # 5 standard errors: 5 * 5 * 0.022
    z = sampled_codes(model, split, torch.arange(4000), seed=0)
    assert torch.equal(z, sampled_codes(model, split, torch.arange(4000), seed=0))


def test_a_mixture_finds_two_separate_blobs_with_their_shares():
    prior = fit_prior(*known(BLOBS), SamplingConfig(prior="mixture", components=2), classes=1)
    left, right = prior.means[0, :, 0].argsort().tolist()
    assert prior.weights[0, [left, right]].tolist() == pytest.approx([0.3, 0.7], abs=1e-3)
    for component, codes in ((left, BLOBS[:600]), (right, BLOBS[600:])):
        np.testing.assert_allclose(prior.means[0, component], codes.mean(0), atol=1e-2)
        np.testing.assert_allclose(covariances(prior)[0, component], np.cov(codes.T, bias=True), atol=1e-2)


def test_no_more_codes_are_used_than_asked_for():
    model, split = known(BLOBS, BLOBS)
    fit_prior(model, split, SamplingConfig(prior="gaussian", codes_per_class=70), classes=2)
    assert model.encoded == 140


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_a_fit_is_the_same_every_time(kind):
    config = SamplingConfig(prior=kind, components=3)
    first, again = (fit_prior(*known(BLOBS, BLOBS + 9, logvar=0.0), config, classes=2) for _ in range(2))
    for name in ("weights", "means", "roots"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    other = fit_prior(*known(BLOBS, BLOBS + 9, logvar=0.0), SamplingConfig(prior=kind, components=3, seed=1), classes=2)
    assert not torch.equal(first.means, other.means)


def test_where_em_does_not_converge_there_is_one_gaussian_and_no_warning(monkeypatch):
    real, asked = sklearn.mixture.GaussianMixture, []

    def hurried(components, **settings):
        asked.append(components)
        return real(components, **(settings | ({"max_iter": 1} if components > 1 else {})))

    monkeypatch.setattr(sklearn.mixture, "GaussianMixture", hurried)
    codes = normal(600, [0, 0, 0], np.eye(3))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        prior = fit_prior(*known(codes), SamplingConfig(prior="mixture", components=4), classes=1)
    assert asked == [4, 1]
    assert heard == []
    assert prior.weights.tolist() == [[1, 0, 0, 0]]
    np.testing.assert_allclose(prior.means[0, 0], codes.mean(0), atol=1e-4)


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
@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_degenerate_codes_give_a_density_that_can_be_drawn_from(kind, codes):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        prior = fit_prior(*known(codes), SamplingConfig(prior=kind, components=5), classes=1)
    assert heard == []
    for root in prior.roots[0]:
        assert torch.equal(root, root.tril())
        assert torch.linalg.svdvals(root.double()).min() >= 0.9e-2  # the root of reg_covar
    assert prior.weights.sum().item() == pytest.approx(1)
    assert all(torch.isfinite(getattr(prior, name)).all() for name in ("weights", "means", "roots"))


def test_a_class_of_few_codes_has_fewer_components_and_never_draws_from_the_rest():
    prior = fit_prior(*known(BLOBS[:9] + 50, BLOBS), SamplingConfig(prior="mixture", components=4), classes=2)
    assert (prior.weights[0] > 0).tolist() == [True, True, False, False]
    assert (prior.weights[1] > 0).all()
    u = torch.linspace(0, ALMOST_ONE, 5000)
    z = prior.draw(torch.zeros(5000, 2), u, torch.zeros(5000, dtype=torch.long))
    assert z[:, 0].min() > 40  # the unused components are at the origin


# ---- the draw


def two_components(offset=0.0):
    means = torch.tensor([[[0.0, 0.0], [5.0, 1.0]], [[1.0, 1.0], [9.0, 9.0]]]) + offset
    root = torch.tensor(ROOT)
    roots = torch.stack([root, root.T.tril()]).expand(2, 2, 2, 2)
    return ClassPrior(torch.tensor([[0.2, 0.8], [1.0, 0.0]]), means, roots)


def test_draws_have_the_components_shares_and_moments():
    prior, n = two_components(), 40_000
    eps, u = fixed_noise(n, 2, seed=0), torch.rand(n, generator=torch.Generator().manual_seed(1))
    y = torch.zeros(n, dtype=torch.long)
    component = (prior.draw(torch.zeros(n, 2), u, y)[:, 0] > 2.5).long()
    z = prior.draw(eps, u, y)
    assert component.double().mean().item() == pytest.approx(0.8, abs=0.01)  # 5 standard errors
    for i in range(2):
        own = z[component == i]
        torch.testing.assert_close(own.mean(0), prior.means[0, i], atol=0.12, rtol=0)
        torch.testing.assert_close(own.T.cov(), covariances(prior)[0, i], atol=0.25, rtol=0)


def test_each_label_draws_from_its_own_class():
    prior = two_components()
    z = prior.draw(torch.zeros(4, 2), torch.tensor([0.1, 0.9, 0.1, 0.9]), torch.tensor([0, 0, 1, 1]))
    assert z.tolist() == [[0, 0], [5, 1], [1, 1], [1, 1]]


def test_a_component_of_weight_zero_is_never_drawn_even_where_rounding_leaves_the_sum_below_one():
    used = torch.rand(7, generator=torch.Generator().manual_seed(0)).softmax(0) * (1 - 3e-7)
    weights = torch.cat([used, torch.zeros(3)])
    assert weights.cumsum(0)[-1] < ALMOST_ONE  # the trap is there
    means = torch.cat([torch.zeros(7, 1), torch.full((3, 1), 100.0)])
    prior = ClassPrior(weights[None], means[None], torch.eye(1).expand(1, 10, 1, 1))
    assert prior.draw(torch.zeros(1, 1), torch.tensor([ALMOST_ONE]), torch.tensor([0])).item() == 0


def test_the_standard_prior_leaves_z_as_it_is():
    eps = fixed_noise(6, 3, seed=0)
    assert draw_z(balanced_labels(3, 2), eps, None, seed=0) is eps


def test_one_noise_gives_pairs_under_two_priors():
    y, eps = balanced_labels(50, 2), fixed_noise(100, 2, seed=3)
    first, second = (draw_z(y, eps, two_components(offset), seed=3) for offset in (0.0, 2.5))
    torch.testing.assert_close(second - first, torch.full_like(first, 2.5))
    assert not torch.equal(draw_z(y, eps, two_components(), seed=4), first)


def test_a_prior_that_is_n_0_1_gives_the_images_of_the_standard_one():
    torch.manual_seed(0)
    model = Autoencoder("cvae", pixels=12, classes=3, latent_dim=2, hidden=(8,))
    unit = ClassPrior(torch.ones(3, 1), torch.zeros(3, 1, 2), torch.eye(2).expand(3, 1, 2, 2))
    for sample in (lambda prior: conditional_samples(model, per_class=5, seed=1, prior=prior)[0],
                   lambda prior: generation_grid(model, columns=4, prior=prior)):  # fmt: skip
        assert torch.equal(sample(unit), sample(None))


# ---- the stage

MIXTURE = {"sampling__prior": "mixture", "sampling__components": 5}


@pytest.fixture(scope="module")
def rescored(warm_root, tmp_path_factory):
    """Runs of one model of digits whose beta is far too low, by prior, and what was said meanwhile."""
    import shutil

    from pipeline.store.home import Home

    root = tmp_path_factory.mktemp("density") / "home"
    shutil.copytree(warm_root, root)
    said, outcomes = [], {}
    for kind in ("standard", "gaussian", "mixture"):
        config = quick_config(train__beta=0.01, train__epochs=25, **(MIXTURE | {"sampling__prior": kind}))
        outcomes[kind] = execute(Context(config, Home(root, root / "data"), say=said.append), "test")
    return outcomes, said


def test_at_a_low_beta_the_fitted_priors_draw_more_digits_right(rescored):
    outcomes, _ = rescored
    standard = outcomes["standard"].metrics["test/conditional_accuracy"]
    for kind in ("gaussian", "mixture"):
        assert outcomes[kind].metrics["test/conditional_accuracy_expost"] > standard + 0.05


def test_scores_under_a_fitted_prior_stand_beside_the_standard_ones_with_the_gap(rescored):
    outcomes, _ = rescored
    standard, mixture = outcomes["standard"].metrics, outcomes["mixture"].metrics
    assert {k for k in mixture if k not in standard} == {f"test/{name}_expost" for name in EXPOST} | {"test/prior_gap"}
    assert {k: v for k, v in mixture.items() if k in standard} == standard
    gap = mixture["test/conditional_accuracy_expost"] - mixture["test/conditional_accuracy"]
    assert mixture["test/prior_gap"] == pytest.approx(gap, abs=1e-12)
    assert not any(name.endswith(("_expost", "prior_gap")) for name in standard)


def test_another_prior_neither_trains_nor_scores_the_standard_way_again(rescored):
    _, said = rescored
    done = [line.partition(": done")[0] for line in said if ": done" in line]
    assert done == [
        "train (cvae, 25 epochs)",
        "evaluate (test)",
        "score (test)",
        "calibration (test)",
        "inside (test)",
        "expost (test, gaussian prior)",
        "expost (test, mixture prior)",
    ]


def test_a_run_under_a_fitted_prior_keeps_both_grids_and_they_differ(rescored):
    outcomes, _ = rescored
    assert set(outcomes["standard"].grids) == {"generated", "reconstructed"}
    grids = {name: read_grid(path) for name, path in outcomes["mixture"].grids.items()}
    assert set(grids) == {"generated", "generated_expost", "reconstructed"}
    assert grids["generated"].shape == grids["generated_expost"].shape
    assert not np.array_equal(grids["generated"], grids["generated_expost"])


def test_a_run_is_named_by_its_prior_but_its_standard_score_is_shared():
    configs = [quick_config(sampling__prior=kind) for kind in ("standard", "gaussian", "mixture")]
    configs += [quick_config(**MIXTURE), quick_config(**MIXTURE, sampling__seed=1)]
    assert len({run_key(config, "test") for config in configs}) == len(configs)
    assert len({SCORE.key(config, "test") for config in configs}) == 1
    unused = quick_config(sampling__seed=1)  # of the standard prior, which has nothing to seed
    assert run_key(unused, "test") == run_key(configs[0], "test")


def test_a_prior_changes_nothing_for_a_model_without_labels(warm_home):
    plain = quick_config(model__kind="vae", train__epochs=1)
    fitted = plain.with_settings({"sampling.prior": "mixture"})
    assert run_key(plain, "test") == run_key(fitted, "test")
    outcome = execute(Context(fitted, warm_home), "test")
    assert not any(name.endswith(("_expost", "prior_gap")) for name in outcome.metrics)
    with pytest.raises(ConfigError, match="score needs --model cvae: vae takes no label"):
        expost(Context(fitted, warm_home), "test")
