"""The secondary suite for models that are reported: likelihood bound, diversity, latent health.

Knows tensors; no files, stages or trackers. Too slow for every trial of a sweep (a minute or more on one core), so it
is for finals. The generated images are those of `scoring`: the same z, labels and reference images for every model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.config.digests import derive_seed
from pipeline.config.sections import AuditConfig, ScoreConfig
from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.judges.networks import Judges, extract_features, pooled, pooling, predict_logits
from pipeline.evaluation.metrics.diversity import pairwise_l2, pairwise_ssim
from pipeline.evaluation.metrics.frechet import frechet_distance
from pipeline.evaluation.metrics.latent import active_units, is_collapsed, label_leak
from pipeline.evaluation.metrics.likelihood import StreamingLogMeanExp, log_importance_weights
from pipeline.evaluation.metrics.neighbours import manifold_scores
from pipeline.evaluation.reference import Reference, fairly_drawn, stratified_indices
from pipeline.models.architecture import Architecture
from pipeline.models.autoencoder import reparametrise
from pipeline.models.losses import gaussian_kl_per_dim
from pipeline.models.priors import STANDARD, Prior
from pipeline.models.sampling import conditional_samples, decode_means

IWAE_IMAGES, IWAE_DRAWS = 50, 100
"""Images and draws of z decoded at once: 5,000 x 784 logits are 16 MB, which stays near the cache."""
PROBE_IMAGES = 10_000
CAS_BATCH = 128

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Audit:
    """Numbers by name (without their split), and the KL of each latent dimension in nats."""

    metrics: dict[str, float]
    kl_per_dim: list[float]


def audit_model(
    model: Architecture,
    judges: Judges,
    reference: Reference,
    data: PreparedData,
    split: Split,
    config: AuditConfig,
    score: ScoreConfig,
    progress: Progress = lambda what, done, total: None,
    fitted: Prior | None = None,
) -> Audit:
    """Every secondary score of a label-conditional model on one split, with z from N(0, I).

    Under a prior `fitted` after training diversity and the importance-weighted bound are given as well,
    with `_expost` behind their names.
    """
    classes = reference.classes
    real = stratified_indices(split.labels, reference.per_class, classes, seed=score.seed)  # (K, R)
    sample = stratified_indices(data.train.labels, reference.per_class, classes, seed=score.seed)

    def drawn(prior: Prior) -> Float[Tensor, "K R D"]:
        images, _ = conditional_samples(model, per_class=score.per_class, seed=score.seed, prior=prior)
        return images.unflatten(0, (data.classes, score.per_class))[[*classes], : reference.per_class]

    generated = drawn(STANDARD)
    expost = drawn(fitted) if fitted else None
    real_images = split.as_float(real.flatten()).unflatten(0, (len(classes), -1))
    train_images = data.train.as_float(sample.flatten()).unflatten(0, (len(classes), -1))

    progress("diversity", 0, 5)
    found = diversity(generated, real_images, data)
    if expost is not None:
        own = diversity(expost, real_images, data)
        found |= {f"{name}_expost": value for name, value in own.items() if not name.endswith("_real")}
    progress("distance to real images", 1, 5)
    found |= feature_distances(judges, reference, generated, train_images, neighbours=score.neighbours)
    progress("latent space", 2, 5)
    health, kl_per_dim = latent_health(model, judges, data, split)
    found |= health
    progress("classifier trained on generated images", 3, 5)
    found |= classification_scores(model, data, split, config)
    progress("importance-weighted bound", 4, 5)
    found |= importance_weighted(
        model, split, config, lambda done, total: progress("importance-weighted bound", done, total), fitted
    )
    return Audit(found, kl_per_dim)


def diversity(generated: Float[Tensor, "K R D"], real: Float[Tensor, "K R D"], data: PreparedData) -> dict[str, float]:
    """Mean within-class distance and structural similarity of random pairs, generated and real."""

    def mean(score: Callable[[Tensor], float], images: Tensor) -> float:
        return sum(score(part) for part in images) / len(images)

    def l2(images: Tensor) -> float:
        return pairwise_l2(images, generator=torch.Generator().manual_seed(0))

    def ssim(images: Tensor) -> float:
        pixels = images.unflatten(1, data.shape)
        return pairwise_ssim(pixels, generator=torch.Generator().manual_seed(0))

    found = {"pairwise_l2": mean(l2, generated), "pairwise_l2_real": mean(l2, real)}
    if min(data.height, data.width) >= SSIM_LEAST:
        found |= {"pairwise_ssim": mean(ssim, generated), "pairwise_ssim_real": mean(ssim, real)}
    return found


SSIM_LEAST = 6
"""Pixels of a side that the reflected border of the 11-pixel window (Wang et al. 2004) needs."""


def feature_distances(
    judges: Judges,
    reference: Reference,
    generated: Float[Tensor, "K R D"],
    train: Float[Tensor, "K R D"],
    *,
    neighbours: int = 5,
) -> dict[str, float]:
    """Frechet distance, precision, recall and density in judge A's features; the real value is a train sample's."""
    features = torch.stack([extract_features(judges.a, images) for images in generated])  # (K, R, F)
    train_features = torch.stack([extract_features(judges.a, images) for images in train])
    against = reference.features[0]

    def intra(candidate: Tensor) -> float:
        pairs = zip(candidate, against, strict=True)
        return sum(frechet_distance(own, real) for own, real in pairs) / len(candidate)

    k = min(neighbours, reference.per_class - 1)
    manifold = [manifold_scores(real, own, k=k) for real, own in zip(against, features, strict=True)]
    return {
        "frechet_intra": intra(features),
        "frechet_intra_real": intra(train_features),
        "frechet_pooled": frechet_distance(features.flatten(0, 1), against.flatten(0, 1)),
        "precision": sum(m.precision for m in manifold) / len(manifold),
        "recall": sum(m.recall for m in manifold) / len(manifold),
        "density": sum(m.density for m in manifold) / len(manifold),
    }


@torch.inference_mode()
def posterior(
    model: Architecture, split: Split, indices: Int[Tensor, " N"]
) -> tuple[Float[Tensor, "N Z"], Float[Tensor, "N Z"]]:
    """Mean and log-variance of q(z|x,c) of some images."""
    model.eval()
    mu, logvar = model.encode(split.as_float(indices), split.labels[indices])
    assert logvar is not None
    return mu, logvar


def latent_health(
    model: Architecture, judges: Judges, data: PreparedData, split: Split
) -> tuple[dict[str, float], list[float]]:
    """Active units, collapse, what probes read of the label from sampled z, and whether a swapped label is drawn."""
    device = split.labels.device
    fit = _some(data.train, PROBE_IMAGES).to(device)
    held = _some(split, PROBE_IMAGES).to(device)
    generator = torch.Generator().manual_seed(derive_seed("audit z"))
    codes = []
    for part, indices in ((data.train, fit), (split, held)):
        mu, logvar = posterior(model, part, indices)
        codes.append(reparametrise(mu, logvar, torch.randn(mu.shape, generator=generator).to(device)))
    kl = gaussian_kl_per_dim(mu, logvar).mean(0)  # of the split: (Z,)
    active = active_units(mu)
    leak = label_leak(codes[0], data.train.labels[fit], codes[1], split.labels[held], classes=data.classes, seed=0)
    shift = torch.randint(1, data.classes, (len(held),), generator=generator).to(device)
    swapped = (split.labels[held] + shift) % data.classes
    read = predict_logits(judges.a, decode_means(model, codes[1], swapped)).argmax(-1)
    return (
        {
            "active_units": float(active),
            "collapsed": float(is_collapsed(kl, active)),
            "label_leak_linear": leak.linear_accuracy,
            "label_leak_mlp": leak.mlp_accuracy,
            "label_information": leak.information_nats,
            "label_information_floor": leak.floor_nats,
            "swap_accuracy": float((read == swapped).double().mean()),
        },
        kl.tolist(),
    )


def classification_scores(
    model: Architecture, data: PreparedData, split: Split, config: AuditConfig
) -> dict[str, float]:
    """Accuracy on real images of a CNN trained on generated ones, and on as many real ones (Ravuri & Vinyals 2019)."""
    smallest = int(torch.bincount(data.train.labels.cpu()).min())
    per_class = min(max(1, config.cas_images // data.classes), smallest)
    images, labels = conditional_samples(model, per_class=per_class, seed=derive_seed("cas"))
    real = stratified_indices(data.train.labels, per_class, data.classes, seed=0).flatten()
    x, y = split.as_float(slice(None)), split.labels
    found = {}
    for name, own_x, own_y in (
        ("classification_accuracy_score", images, labels),
        ("classification_accuracy_score_real", data.train.as_float(real), data.train.labels[real]),
    ):
        classifier = _small_cnn(own_x, own_y.to(own_x.device), data, steps=config.cas_steps)
        read = torch.cat([classifier(part).argmax(-1) for part in x.split(500)])
        found[name] = float((read == y).double().mean())
    return found


def _small_cnn(x: Float[Tensor, "N D"], y: Int[Tensor, " N"], data: PreparedData, *, steps: int) -> nn.Module:
    """Two convolutions and a linear layer, trained with Adam; the same initial weights and order every time."""
    size = data.height, data.width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("cas weights"))
        model = nn.Sequential(
            nn.Unflatten(1, data.shape),
            *(nn.Conv2d(data.channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(pooling(size))),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(pooling(pooled(size)))),
            nn.Flatten(),
            nn.Linear(32 * math.prod(pooled(pooled(size))), data.classes),
        ).to(x.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(derive_seed("cas order"))
    for _ in range(steps):
        part = torch.randint(len(x), (CAS_BATCH,), generator=generator).to(x.device)
        loss = nn.functional.cross_entropy(model(x[part]), y[part])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def importance_weighted(
    model: Architecture,
    split: Split,
    config: AuditConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    fitted: Prior | None = None,
) -> dict[str, float]:
    """The K-sample bound on -log p(x|c) of stratified images, with its standard error (Burda et al. 2016).

    Under N(0, I), and over the same z under a `fitted` prior, whose weights differ by what the two densities do.
    """
    indices = _some(split, config.iwae_images)
    generator = torch.Generator().manual_seed(derive_seed("iwae"))
    values: dict[str, list[Tensor]] = {"": [], **({"_expost": []} if fitted else {})}
    for number, part in enumerate(indices.split(IWAE_IMAGES)):
        part = part.to(split.labels.device)
        mu, logvar = posterior(model, split, part)
        x, y = split.as_float(part), split.labels[part]
        totals = {name: StreamingLogMeanExp() for name in values}
        while totals[""].draws < config.iwae_draws:
            k = min(IWAE_DRAWS, config.iwae_draws - totals[""].draws)
            eps = torch.randn(k, *mu.shape, generator=generator).to(mu.device)
            z = reparametrise(mu, logvar, eps)  # (k, B, Z)
            logits = model.decode(z.flatten(0, 1), y.repeat(k)).unflatten(0, (k, len(y)))
            weights = log_importance_weights(logits, x, z, mu, logvar, model.likelihood)
            totals[""].update(weights)
            if fitted:
                flat, labels = z.flatten(0, 1), y.repeat(k)
                moved = fitted.log_prob(flat, labels) - STANDARD.log_prob(flat, labels)
                totals["_expost"].update(weights + moved.unflatten(0, (k, len(y))))
        for name, total in totals.items():
            values[name].append(-total.value())
        progress(min(len(indices), (number + 1) * IWAE_IMAGES), len(indices))
    found: dict[str, float] = {}
    for name, parts in values.items():
        nll = torch.cat(parts)
        found |= {f"nll_iw{name}": float(nll.mean()), f"nll_iw_sem{name}": float(nll.std() / len(nll) ** 0.5)}
    return found


def _some(split: Split, limit: int) -> Int[Tensor, " N"]:
    """At most `limit` images of a split, as many of each class, the same for every model."""
    labels = split.labels.cpu()
    classes = int(labels.max()) + 1
    return torch.cat(fairly_drawn(labels, max(1, limit // classes), classes, seed=0))
