"""The secondary suite against models whose numbers are known: copies, label readers, decoders that ignore z."""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from helpers import quick_config
from torch.distributions import Bernoulli, Normal

from pipeline.config.digests import derive_seed
from pipeline.config.sections import AuditConfig
from pipeline.data.splits import Split
from pipeline.errors import ConfigError
from pipeline.evaluation.audit import (
    IWAE_DRAWS,
    IWAE_IMAGES,
    _some,
    audit_model,
    classification_scores,
    diversity,
    feature_distances,
    importance_weighted,
    latent_health,
)
from pipeline.evaluation.catalog import METRICS
from pipeline.evaluation.reference import build_reference, class_means, stratified_indices
from pipeline.models.likelihoods import BERNOULLI, bernoulli_bce
from pipeline.runs.execute import execute
from pipeline.stages.audit import audit
from pipeline.stages.context import Context
from pipeline.stages.evaluate import evaluate
from pipeline.stages.graph import run_key
from pipeline.stages.judge import judge
from pipeline.stages.reference import reference as reference_stage
from pipeline.stages.train import train
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.training.validation import elbo_per_image

SETTINGS = {"train__epochs": 12, "audit__iwae_draws": 120, "audit__iwae_images": 100, "audit__cas_images": 600}
SECONDARY = {
    *("nll_iw", "nll_iw_sem"),
    *("pairwise_l2", "pairwise_l2_real", "pairwise_ssim", "pairwise_ssim_real"),
    *("classification_accuracy_score", "classification_accuracy_score_real"),
    *("frechet_intra", "frechet_intra_real", "frechet_pooled", "precision", "recall", "density"),
    *("label_leak_linear", "label_leak_mlp", "label_information", "label_information_floor", "swap_accuracy"),
    *("active_units", "collapsed"),
    *(f"{name}_expost" for name in ("nll_iw", "nll_iw_sem", "pairwise_l2", "pairwise_ssim")),
}


class Fake(torch.nn.Module):
    """A model made of two functions: encode(x, y) -> mu, logvar and decode(z, y) -> logits."""

    classes, likelihood = 10, BERNOULLI

    def __init__(self, encode, decode, latent_dim):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.encode, self.decode, self.latent_dim = encode, decode, latent_dim


def standard_normal(x, y):
    """q = N(0, I): a posterior that has not looked."""
    return torch.zeros(len(x), 3), torch.zeros(len(x), 3)


@pytest.fixture(scope="module")
def context(warm_root, tmp_path_factory):
    """A context in one home for the module, with some settings changed."""
    root = tmp_path_factory.mktemp("audit") / "home"
    shutil.copytree(warm_root, root)
    return lambda force=(), **changes: Context(
        quick_config(**(SETTINGS | changes)), Home(root, root / "data"), force=set(force)
    )


@pytest.fixture(scope="module")
def audited(context):
    return audit(context(), "test")


@pytest.fixture(scope="module")
def model(context):
    return train(context()).model


@pytest.fixture(scope="module")
def judges(context):
    return judge(context()).judges


@pytest.fixture(scope="module")
def reference(context):
    return reference_stage(context(), "test")


@pytest.fixture(scope="module")
def class_logits(digits):
    """Logits of the mean training image of every class."""
    return class_means(digits.train, 10).clamp(1e-3, 1 - 1e-3).logit()


def by_class(split, per_class, seed=0):
    return split.as_float(stratified_indices(split.labels, per_class, 10, seed=seed).flatten()).unflatten(0, (10, -1))


def stratified(split, limit):
    """The images that the bound is taken of."""
    chosen = _some(split, limit)
    return Split(split.images[chosen], split.labels[chosen])


# ---- the whole suite


def test_every_number_of_the_secondary_suite_is_there_and_finite(audited):
    assert set(audited.metrics) == {f"test/{name}" for name in SECONDARY}
    assert set(METRICS) >= SECONDARY
    assert all(math.isfinite(value) for value in audited.metrics.values())


def test_rates_are_rates_and_reals_stand_beside_what_they_bound(audited):
    m = {key.removeprefix("test/"): value for key, value in audited.metrics.items()}
    rates = ("precision", "recall", "label_leak_linear", "label_leak_mlp", "swap_accuracy")
    for name in (*rates, "classification_accuracy_score", "classification_accuracy_score_real"):
        assert 0 <= m[name] <= 1, name
    assert m["frechet_intra"] > m["frechet_intra_real"]  # 12 epochs are not enough to pass for real
    assert m["classification_accuracy_score_real"] > 0.8
    assert m["pairwise_l2"] < m["pairwise_l2_real"]
    assert m["pairwise_ssim"] > m["pairwise_ssim_real"]
    assert 0 <= m["label_information"] <= math.log(10)


def test_the_kl_of_the_dimensions_adds_up_to_the_rate(audited, context, model, digits):
    kl = read_json(audited.folder / "kl_per_dim.json")
    assert len(kl) == context().config.model.latent_dim
    assert min(kl) >= 0
    rate = evaluate(context(), "test").metrics["test/kl"]
    assert sum(kl) == pytest.approx(rate, rel=0.03)  # stratified images against all
    with torch.inference_mode():
        mu, _ = model.encode(digits.test.as_float(), digits.test.labels)
    assert audited.metrics["test/active_units"] == (mu.var(0) > 0.01).sum()


def test_the_same_audit_gives_the_same_numbers_and_tells_its_progress_step_by_step(audited, context):
    ctx, heard = context(force={"audit"}), []
    ctx = replace(ctx, progress=lambda what, done, total, note: heard.append((what, note, done, total)))
    assert audit(ctx, "test").metrics == audited.metrics
    own = [(note, done, total) for what, note, done, total in heard if what == "audit"]
    bound = [(done, total) for note, done, total in own if note == "importance-weighted bound"][1:]
    assert bound == [(50, 100), (100, 100)]
    assert [done for _, done, total in own if total == 5] == list(range(5))


def test_a_run_with_an_audit_adds_its_numbers_on_test_alone_and_shares_the_stage(audited, context):
    ctx = context(audit__enabled=True)
    said: list[str] = []
    outcome = execute(replace(ctx, say=said.append), "test")
    assert outcome.metrics.items() >= audited.metrics.items()
    assert "audit (test): up to date" in said
    assert len(outcome.facts["kl_per_dim"]) == 4
    assert run_key(ctx.config, "test") != run_key(context().config, "test")
    assert run_key(ctx.config, "val") == run_key(context().config, "val")


@pytest.mark.parametrize("kind", ["ae", "vae"])
def test_an_audit_of_a_model_without_labels_is_one_clear_line(context, kind):
    with pytest.raises(ConfigError, match=rf"audit needs --model cvae: {kind} takes no label.*evaluate works") as error:
        audit(context(model__kind=kind), "test")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting", [{"score__per_class": 3}, {"audit__cas_images": 1}, {"audit__iwae_images": 1}])
def test_the_smallest_allowed_sizes_work(judges, digits, model, setting):
    config = quick_config(**(SETTINGS | {"audit__cas_steps": 5} | setting))
    reference = build_reference(judges, digits, digits.test, config.score)
    found = audit_model(model, judges, reference, digits, digits.test, config.audit, config.score)
    assert all(math.isfinite(value) for value in found.metrics.values())


# ---- the importance-weighted bound


def test_the_bound_is_below_neg_elbo_and_falls_with_the_number_of_draws(model, digits):
    images = stratified(digits.test, 200)
    terms = elbo_per_image(model, images, seed=1, draws=50)
    bounds = {
        draws: importance_weighted(model, digits.test, AuditConfig(iwae_draws=draws, iwae_images=200))["nll_iw"]
        for draws in (1, 10, 100, 1000)
    }
    neg_elbo = float(terms.neg_elbo.mean())
    assert bounds[1] == pytest.approx(neg_elbo, abs=0.4)  # one draw each of 200 images
    assert bounds[10] < neg_elbo
    assert bounds[1] > bounds[10] > bounds[100] > bounds[1000]


def test_the_bound_is_that_of_the_definition_written_out_with_torch_distributions(model, digits):
    draws, images = 30, stratified(digits.test, 60)
    generator = torch.Generator().manual_seed(derive_seed("iwae"))
    values = []
    for part in torch.arange(60).split(IWAE_IMAGES):
        x, y = images.as_float(part), images.labels[part]
        with torch.inference_mode():
            mu, logvar = model.encode(x, y)
            q = Normal(mu, (0.5 * logvar).exp())
            z = mu + q.scale * torch.randn(draws, *mu.shape, generator=generator)
            p = Bernoulli(logits=torch.stack([model.decode(one, y) for one in z]), validate_args=False)
        weights = p.log_prob(x).sum(-1) + Normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
        values.append(math.log(draws) - weights.double().logsumexp(0))
    expected = torch.cat(values)
    found = importance_weighted(model, digits.test, AuditConfig(iwae_draws=draws, iwae_images=60))
    assert found["nll_iw"] == pytest.approx(float(expected.mean()), rel=1e-6)
    assert found["nll_iw_sem"] == pytest.approx(float(expected.std()) / 60**0.5, rel=1e-5)


@pytest.mark.parametrize("draws", [1, 7, 150])
def test_where_z_is_ignored_the_bound_is_neg_elbo_for_every_number_of_draws(class_logits, digits, draws):
    blind = Fake(standard_normal, lambda z, y: class_logits[y], 3)
    images = stratified(digits.test, 60)
    bce = bernoulli_bce(class_logits[images.labels], images.as_float()).mean()
    found = importance_weighted(blind, digits.test, AuditConfig(iwae_draws=draws, iwae_images=60))
    assert found["nll_iw"] == pytest.approx(float(bce), rel=1e-6)


@pytest.mark.parametrize("chunk", [7, 64, 1000])
def test_the_size_of_a_chunk_does_not_change_the_bound(model, digits, monkeypatch, chunk):
    # 40 images of 4 dimensions: torch draws whole blocks of 16 numbers, so every chunk size sees the same noise
    config = AuditConfig(iwae_draws=250, iwae_images=40)
    whole = importance_weighted(model, digits.test, config)
    monkeypatch.setattr("pipeline.evaluation.audit.IWAE_DRAWS", chunk)
    assert importance_weighted(model, digits.test, config) == pytest.approx(whole, rel=1e-6)


def test_memory_does_not_grow_with_the_number_of_draws_or_images(class_logits, digits):
    def decoded(draws, images):
        sizes = []
        blind = Fake(standard_normal, lambda z, y: sizes.append(len(z)) or class_logits[y], 3)
        importance_weighted(blind, digits.test, AuditConfig(iwae_draws=draws, iwae_images=images))
        assert sum(sizes) == draws * images  # every draw of every image once
        return max(sizes)

    assert decoded(100, 50) == IWAE_DRAWS * IWAE_IMAGES
    assert decoded(350, 120) == IWAE_DRAWS * IWAE_IMAGES


# ---- diversity, distances


def test_one_image_per_class_has_no_diversity(digits):
    real = by_class(digits.test, 20)
    found = diversity(real[:, :1].expand(-1, 20, -1), real, digits)
    assert found["pairwise_l2"] == 0
    assert found["pairwise_ssim"] == pytest.approx(1, abs=1e-4)
    assert found["pairwise_l2_real"] > 1
    assert found["pairwise_ssim_real"] < 0.9
    assert diversity(real, real, digits)["pairwise_l2"] == found["pairwise_l2_real"]


def test_real_images_are_at_no_distance_from_themselves(judges, reference, digits):
    real, other = by_class(digits.test, reference.per_class), by_class(digits.train, reference.per_class)
    found = feature_distances(judges, reference, real, other)
    scale = float(reference.features[0].flatten(0, 1).double().var(0).sum())
    assert found["frechet_intra"] == pytest.approx(0, abs=1e-5 * scale)
    assert found["frechet_pooled"] == pytest.approx(0, abs=1e-5 * scale)
    assert (found["precision"], found["recall"]) == (1, 1)
    assert found["density"] > 0.9
    assert found["frechet_intra_real"] > 0.01 * scale
    sample = feature_distances(judges, reference, other, other)
    assert sample["frechet_intra"] == sample["frechet_intra_real"] == found["frechet_intra_real"]


def test_noise_is_far_from_real_images(judges, reference, digits):
    noise = torch.rand(10, reference.per_class, 64, generator=torch.Generator().manual_seed(0))
    found = feature_distances(judges, reference, noise, by_class(digits.train, reference.per_class))
    assert found["precision"] < 0.5
    assert found["density"] < 0.2
    assert found["frechet_intra"] > 2 * found["frechet_intra_real"]


# ---- what is in z


def one_hot_codes(x, y):
    """A code that is the label and nothing else."""
    return 5 * torch.nn.functional.one_hot(y, 10).float(), torch.full((len(x), 10), -6.0)


def test_a_code_that_is_the_label_leaks_all_of_it(judges, digits, class_logits):
    reads_code = Fake(one_hot_codes, lambda z, y: class_logits[z.argmax(-1)], 10)
    found, kl = latent_health(reads_code, judges, digits, digits.test)
    assert found["label_leak_linear"] == found["label_leak_mlp"] == 1
    assert found["label_information"] == pytest.approx(math.log(10), abs=0.05)
    assert found["swap_accuracy"] < 0.05  # it draws the label it was encoded with
    assert found["active_units"] == 10
    assert found["collapsed"] == 0
    # KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1 - ln s^2) / 2, with m = 5 in one image of ten
    assert kl == pytest.approx([0.5 * (2.5 + math.exp(-6) - 1 + 6)] * 10, rel=1e-4)


def test_codes_that_know_nothing_leak_nothing_and_are_collapsed(judges, digits, class_logits):
    obeys = Fake(standard_normal, lambda z, y: class_logits[y], 3)
    found, kl = latent_health(obeys, judges, digits, digits.test)
    assert found["label_leak_linear"] == pytest.approx(0.1, abs=0.06)
    assert found["label_leak_mlp"] == pytest.approx(0.1, abs=0.06)
    assert found["label_information"] < 0.05
    assert found["swap_accuracy"] > 0.9  # as often as the judge reads class means
    assert (found["active_units"], found["collapsed"], kl) == (0, 1, [0, 0, 0])


def test_a_decoder_that_ignores_the_label_swaps_at_chance(judges, digits, class_logits):
    draws_threes = Fake(standard_normal, lambda z, y: class_logits[3].expand(len(z), -1), 3)
    found, _ = latent_health(draws_threes, judges, digits, digits.test)
    assert found["swap_accuracy"] == pytest.approx(0.1, abs=0.06)  # four standard errors of 350 images


# ---- the classifier trained on generated images


def test_a_classifier_learns_from_class_means_and_nothing_from_one_image(digits, class_logits):
    config = AuditConfig(cas_images=400, cas_steps=60)
    right, blind = (
        classification_scores(Fake(standard_normal, decode, 3), digits, digits.test, config)
        for decode in (lambda z, y: class_logits[y], lambda z, y: class_logits[3].expand(len(z), -1))
    )
    assert right["classification_accuracy_score"] > 0.6
    assert blind["classification_accuracy_score"] == pytest.approx(0.1, abs=0.06)
    assert right["classification_accuracy_score_real"] == blind["classification_accuracy_score_real"]
    assert right["classification_accuracy_score_real"] > right["classification_accuracy_score"]
