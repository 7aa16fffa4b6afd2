"""Priors fitted after training: chosen by validation codes, one generative model with their decoder, and said."""

import numpy as np
import pytest
import torch
from helpers import quick_config

from pipeline.config.sections import SamplingConfig
from pipeline.data.splits import PreparedData, Split
from pipeline.errors import ConfigError
from pipeline.evaluation.priors import fit_prior, ladder, sampled_codes
from pipeline.evaluation.scoring import EXPOST
from pipeline.evaluation.thresholds import cut
from pipeline.grids import read_grid
from pipeline.models.priors import STANDARD
from pipeline.runs.execute import execute
from pipeline.stages.context import Context
from pipeline.stages.expost import expost
from pipeline.stages.graph import SCORE, run_key

GAUSSIAN = SamplingConfig(prior="gaussian")


class KnownCodes(torch.nn.Module):
    """An encoder whose q(z|x,c) is given for each image; two pixels hold the number of the image."""

    def __init__(self, mu, logvar, conditional):
        super().__init__()
        self.mu, self.logvar, self.conditional, self.latent_dim = mu, logvar, conditional, mu.shape[1]

    def encode(self, x, y):
        numbers = (x * 255).round().long()
        mu = self.mu[numbers[:, 0] * 256 + numbers[:, 1]]
        return mu, torch.full_like(mu, self.logvar)


def known(*codes_by_class, logvar=-60.0, conditional=True):
    """A model and data whose codes are these, class by class; validation has every second of them."""
    codes = torch.cat([torch.as_tensor(codes, dtype=torch.float32) for codes in codes_by_class])
    number = torch.arange(len(codes))
    images = torch.stack([number // 256, number % 256], dim=1)[:, None].to(torch.uint8)
    labels = torch.cat([torch.full((len(codes),), label) for label, codes in enumerate(codes_by_class)])
    train, val = Split(images, labels), Split(images[::2], labels[::2])
    names = tuple(str(label) for label in range(len(codes_by_class)))
    return KnownCodes(codes, logvar, conditional), PreparedData(train, val, val, names, "known", "no hash")


def normal(n, mean, root, seed=0):
    rng = np.random.default_rng(seed)
    return np.asarray(mean) + rng.standard_normal((n, len(mean))) @ np.asarray(root).T


BLOBS = np.concatenate([normal(600, [-4, 0], [[0.5, 0], [0, 1]]), normal(1400, [4, 1], [[1, 0], [0.5, 0.5]], seed=1)])


# ---- the fit


def test_the_ladder_ends_at_what_was_asked_for():
    assert ladder(1) == [1]
    assert ladder(10) == [1, 2, 5, 10]
    assert ladder(30) == [1, 2, 5, 10, 20, 30]


def test_codes_are_sampled_from_the_posterior_so_its_spread_is_in_the_density():
    model, data = known(normal(4000, [0, 0], np.eye(2)), logvar=np.log(4.0))
    density = fit_prior(model, data, GAUSSIAN).density
    covariance = density.roots[0, 0] @ density.roots[0, 0].mT
    np.testing.assert_allclose(covariance, 5 * np.eye(2), atol=0.5)
    first, again = (sampled_codes(model, data.train, seed=0) for _ in range(2))
    assert torch.equal(first.z, again.z)
    assert not torch.equal(first.z, sampled_codes(model, data.train, seed=1).z)


def test_validation_codes_choose_the_number_of_components():
    facts = fit_prior(*known(BLOBS), SamplingConfig(components=10)).facts
    kl = {int(components): value for components, value in facts["validation_kl"].items()}
    assert facts["components"] == min(kl, key=kl.__getitem__) >= 2
    assert kl[0] > kl[1] > kl[2]  # N(0, I), one Gaussian, two of them
    one = fit_prior(*known(normal(2000, [3, 1], np.eye(2))), SamplingConfig(components=10)).facts
    assert one["validation_kl"]["2"] > one["validation_kl"]["1"] - 0.05  # nothing to be found


def test_codes_that_fill_n_0_1_keep_it():
    model, data = known(normal(40, [0, 0], np.eye(2)), logvar=-20.0)
    model.mu = model.mu * 0  # every posterior is N(0, I) itself
    model.logvar = 0.0
    fitted = fit_prior(model, data, SamplingConfig(components=5))
    assert fitted.facts["components"] <= 1
    assert fitted.facts["kl"] == pytest.approx(0, abs=0.05)


def test_a_model_without_labels_has_one_density_for_all_its_codes():
    density = fit_prior(*known(BLOBS, BLOBS + 9, conditional=False), GAUSSIAN).density
    assert density.weights.shape == (1, 1)
    np.testing.assert_allclose(density.means[0, 0], np.concatenate([BLOBS, BLOBS + 9]).mean(0), atol=1e-3)


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_a_fit_is_the_same_every_time(kind):
    config = SamplingConfig(prior=kind, components=3)
    first, again = (fit_prior(*known(BLOBS, BLOBS + 9, logvar=0.0), config).density for _ in range(2))
    for name in ("weights", "means", "roots"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    other = fit_prior(*known(BLOBS, BLOBS + 9, logvar=0.0), SamplingConfig(prior=kind, components=3, seed=1)).density
    assert not torch.equal(first.means, other.means)


def test_what_was_asked_for_and_cut_is_said():
    facts = fit_prior(*known(BLOBS[:40], BLOBS[:20]), SamplingConfig(components=500)).facts
    said = cut(facts)
    assert said.startswith("500 components were asked for, but 60 training images are enough for at most 10, 5 in the")
    assert cut(fit_prior(*known(BLOBS), SamplingConfig(components=2)).facts) == ""


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
    bound = {"neg_elbo_expost", "neg_elbo_sem_expost", "kl_expost", "prior_gap"}
    assert {k for k in mixture if k not in standard} == {f"test/{n}" for n in {f"{n}_expost" for n in EXPOST} | bound}
    of_the_scored = {name for name in standard if name.startswith("test/data_copying")}
    assert {k: v for k, v in mixture.items() if k in standard and k not in of_the_scored} == {
        k: v for k, v in standard.items() if k not in of_the_scored
    }
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
        "surroundings (test)",
        "copying (test)",
        "calibration (test)",
        "inside (test)",
        "prior (gaussian)",
        "expost (test, gaussian prior)",
        "copying (test)",
        "inside (test)",
        "prior (mixture)",
        "expost (test, mixture prior)",
        "copying (test)",
        "inside (test)",
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
    unused = quick_config(sampling__seed=1, sampling__prior="standard")  # which has nothing to seed
    assert run_key(unused, "test") == run_key(configs[0], "test")


def test_a_decoder_and_its_fitted_prior_are_one_model_whose_bound_is_tighter(rescored):
    outcomes, _ = rescored
    for kind in ("gaussian", "mixture"):
        m = outcomes[kind].metrics
        assert m["test/neg_elbo_expost"] == pytest.approx(m["test/bce"] + m["test/kl_expost"])
        assert m["test/neg_elbo_expost"] < m["test/neg_elbo"] + 2 * m["test/neg_elbo_sem"]
    assert outcomes["mixture"].metrics["test/kl_expost"] < outcomes["mixture"].metrics["test/kl"]


def test_a_model_without_labels_has_the_bound_under_one_density_and_no_scores(warm_home):
    fitted = quick_config(model__kind="vae", train__epochs=1, sampling__prior="mixture")
    assert run_key(fitted, "test") != run_key(fitted.with_settings({"sampling.prior": "standard"}), "test")
    outcome = execute(Context(fitted, warm_home), "test")
    found = {name for name in outcome.metrics if name.endswith(("_expost", "prior_gap"))}
    assert found == {"test/neg_elbo_expost", "test/neg_elbo_sem_expost", "test/kl_expost"}


@pytest.mark.parametrize(("kind", "prior"), [("ae", "mixture"), ("cvae", "standard")])
def test_where_nothing_can_be_fitted_it_is_one_line(warm_home, kind, prior):
    config = quick_config(model__kind=kind, sampling__prior=prior, train__epochs=1)
    with pytest.raises(ConfigError, match=r"a prior is fitted for --model vae or cvae and --prior gaussian or mixture"):
        expost(Context(config, warm_home), "test")
    y = torch.zeros(3, dtype=torch.long)
    assert STANDARD.draw(torch.ones(3, 2), torch.zeros(3), y).equal(torch.ones(3, 2))
