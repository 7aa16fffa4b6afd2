"""Quick scores of a model that is still in training, for the rungs of a sweep. Knows tensors; no stores, no trials.

A tenth of the samples, or a few per class where that is fewer: comparable between models at the same rung, not with the
full scores, whose sizes differ.
"""

from collections.abc import Sequence

from pipeline.config.sections import SamplingConfig, ScoreConfig
from pipeline.data.splits import PreparedData
from pipeline.evaluation.judges.networks import Judges, judge_outputs
from pipeline.evaluation.metrics.rates import conditional_accuracy
from pipeline.evaluation.priors import fit_prior
from pipeline.evaluation.reference import Reference, covered_per_class, vendi_per_class
from pipeline.models.architecture import Architecture
from pipeline.models.sampling import Prior, conditional_samples

FEWEST = 20
"""Samples per class that a small data set's models are scored by: with fewer, all of them are right, or wrong."""
EXPOST = "_expost"
"""Ends the names of scores under the prior fitted to the model's codes."""


def rung_scores(
    names: Sequence[str],
    model: Architecture,
    data: PreparedData,
    judges: Judges,
    reference: Reference,
    *,
    score: ScoreConfig,
    sampling: SamplingConfig,
) -> dict[str, float]:
    """Scores of generated images by name: under N(0, I), or under a prior fitted now where the name ends in _expost."""
    found: dict[str, float] = {}
    if not all(name.endswith(EXPOST) for name in names):
        found |= _sampled_scores(model, judges, reference, score, None)
    if any(name.endswith(EXPOST) for name in names):
        prior = fit_prior(model, data.train, sampling, classes=data.classes)
        scores = _sampled_scores(model, judges, reference, score, prior)
        found |= {f"{name}{EXPOST}": value for name, value in scores.items()}
    return {name: found[name] for name in names}


def _sampled_scores(
    model: Architecture, judges: Judges, reference: Reference, config: ScoreConfig, prior: Prior | None
) -> dict[str, float]:
    most = min(config.per_class, reference.per_class)
    per_class = min(most, max(FEWEST, most // 10))
    images, labels = conditional_samples(model, per_class=per_class, seed=config.seed, prior=prior)
    logits, features = judge_outputs(judges.a, images)
    accuracy = conditional_accuracy(logits.argmax(-1).cpu(), labels, classes=model.classes)
    shape = (model.classes, per_class)
    inside = covered_per_class(reference.features, reference.radii, features.unflatten(0, shape))  # (K, R)
    vendi = vendi_per_class(reference.pca, images.unflatten(0, shape))  # (K,)
    return {
        "conditional_accuracy": accuracy.macro,
        "conditional_accuracy_worst_class": accuracy.worst_class,
        "coverage_relative": float(inside.double().mean() / reference.coverage.mean()),
        "vendi_ratio": float((vendi / reference.vendi).mean()),
    }
