"""Every metric key a run can have: unit, direction, meaning. Words only; the README's table is made of it."""

from collections.abc import Collection
from dataclasses import dataclass

from pipeline.config.sections import MOST_JUDGES


@dataclass(frozen=True)
class Metric:
    """One quantity; its key is <split>/<name>."""

    name: str
    unit: str
    better: str
    """higher, lower, or "" where neither is better in itself."""
    meaning: str
    paired: str = ""
    """The per-item numbers behind it, where two runs can be compared as pairs: bce, kl, neg_elbo, accuracy, coverage,
    coverage_relative, vendi_ratio, vendi_ratio_read, and all but the first with `_expost` behind their names."""

    @property
    def is_share(self) -> bool:
        """Whether it lies within 0 .. 1."""
        return self.unit == "share"

    @property
    def arrow(self) -> str:
        """Which way is better, where one is."""
        return {"higher": "↑", "lower": "↓"}.get(self.better, "")


JUDGED = ("conditional_accuracy", "conditional_accuracy_b", "coverage_relative", "vendi_ratio_read")
"""What every judge of a panel reads; of the judges beyond the first under names of their own."""


def by_judge(name: str, number: int) -> str:
    """The name of a metric as a judge of the panel reads it; number 1 is the judge that a search uses."""
    return name if number == 1 else f"{name}_judge{number}"


DISTORTION = {
    "bce": "distortion",
    "bce_at_mean": "distortion_at_mean",
    "excess_bce": "excess_distortion",
    "entropy_floor": "distortion_floor",
    "label_only_bce": "label_only_distortion",
}
"""What numbers of a Bernoulli decoder are called where the likelihood is a density: other quantities, other names."""


def of_likelihood(name: str, likelihood: str) -> str:
    """The name that a model with this likelihood has for a metric, e.g. distortion for bce."""
    return name if likelihood == "bernoulli" else DISTORTION.get(name, name)


METRICS = {
    m.name: m
    for m in (
        Metric(
            "neg_elbo",
            "nats/image",
            "lower",
            "distortion + kl at weight 1: an upper bound on -log p(x|c); of one likelihood alone",
            "neg_elbo",
        ),
        Metric("neg_elbo_sem", "nats/image", "", "standard error of neg_elbo over images"),
        Metric(
            "bce",
            "nats/image",
            "lower",
            "distortion of a Bernoulli decoder: reconstruction cross-entropy with sampled z",
            "bce",
        ),
        Metric("kl", "nats/image", "", "rate: KL(q(z|x,c) || N(0, I))", "kl"),
        Metric("excess_bce", "nats/image", "lower", "bce above the entropy of the grey pixels themselves"),
        Metric("entropy_floor", "nats/image", "", "BCE(x, x): no decoder of these pixels can have a lower bce"),
        Metric(
            "label_only_bce",
            "nats/image",
            "",
            "bce of the class means of the training images",
        ),
        Metric("bce_at_mean", "nats/image", "", "bce with z at the mean of q: not a bound, flatters the loss"),
        Metric(
            "distortion",
            "nats/image",
            "lower",
            "of a density (model.likelihood) in place of bce: -log p(x|z,c) with sampled z; may be below 0",
            "bce",
        ),
        Metric("distortion_at_mean", "nats/image", "", "the same with z at the mean of q: not a bound"),
        Metric("excess_distortion", "nats/image", "lower", "distortion above its floor"),
        Metric("distortion_floor", "nats/image", "", "least distortion of a density no sharper than a grey level"),
        Metric("label_only_distortion", "nats/image", "", "distortion of the class means of the training images"),
        Metric(
            "conditional_accuracy",
            "share",
            "higher",
            "share of generated images read as their label by judge A",
            "accuracy",
        ),
        Metric("conditional_accuracy_low", "share", "", "lower end of its Wilson 95 % interval"),
        Metric("conditional_accuracy_high", "share", "", "upper end of its Wilson 95 % interval"),
        Metric("conditional_accuracy_worst_class", "share", "higher", "the same for the class where it is lowest"),
        Metric("conditional_accuracy_b", "share", "higher", "the same read by judge B, which no search ever sees"),
        Metric(
            "judge_accuracy", "share", "", "judge A on the split's real images: the ceiling of conditional accuracy"
        ),
        Metric("judge_b_accuracy", "share", "", "judge B on the split's real images"),
        Metric(
            "coverage",
            "share",
            "higher",
            "share of real images with a generated one in their k-NN ball",
            "coverage",
        ),
        Metric("coverage_real", "share", "", "the same for as many real training images: the ceiling of coverage"),
        Metric(
            "coverage_relative",
            "",
            "higher",
            "coverage / coverage_real: 1 is as varied as real images",
            "coverage_relative",
        ),
        Metric(
            "coverage_equivalent",
            "share",
            "higher",
            "of the samples that are worth a real image: real training images that cover as much, over as many samples",
        ),
        Metric(
            "coverage_images",
            "images",
            "",
            "of a class that coverage and Vendi scores are taken on; scores of other sizes are other quantities",
        ),
        Metric("vendi", "images", "higher", "effective number of different images among the generated of a class"),
        Metric("vendi_real", "images", "", "the same for as many real images"),
        Metric(
            "vendi_ratio", "", "", "vendi / vendi_real per class, averaged; unreadable images raise it", "vendi_ratio"
        ),
        Metric(
            "vendi_ratio_read",
            "",
            "",
            "the same of the images that are read as their label; 1 is as diverse as real images, more is not better",
            "vendi_ratio_read",
        ),
        Metric(
            "neg_elbo_expost",
            "nats/image",
            "lower",
            "distortion + kl_expost: the bound of the decoder with its fitted prior",
            "neg_elbo_expost",
        ),
        Metric("neg_elbo_sem_expost", "nats/image", "", "standard error of neg_elbo_expost over images"),
        Metric(
            "kl_expost",
            "nats/image",
            "",
            "rate against the prior fitted after training: E_q[log q(z|x,c) - log p(z|c)] over the z of bce",
            "kl_expost",
        ),
        Metric(
            "conditional_accuracy_expost",
            "share",
            "higher",
            "conditional_accuracy with z from the fitted prior",
            "accuracy_expost",
        ),
        Metric("conditional_accuracy_low_expost", "share", "", "lower end of its Wilson 95 % interval"),
        Metric("conditional_accuracy_high_expost", "share", "", "upper end of its Wilson 95 % interval"),
        Metric(
            "conditional_accuracy_worst_class_expost", "share", "higher", "the same for the class where it is lowest"
        ),
        Metric("conditional_accuracy_b_expost", "share", "higher", "the same read by judge B"),
        Metric("coverage_expost", "share", "higher", "coverage with z from the fitted prior", "coverage_expost"),
        Metric(
            "coverage_relative_expost",
            "",
            "higher",
            "coverage_relative with z from the fitted prior",
            "coverage_relative_expost",
        ),
        Metric("coverage_equivalent_expost", "share", "higher", "coverage_equivalent with z from the fitted prior"),
        Metric("vendi_ratio_expost", "", "", "vendi_ratio with z from the fitted prior", "vendi_ratio_expost"),
        Metric(
            "vendi_ratio_read_expost",
            "",
            "",
            "vendi_ratio_read with z from the fitted prior",
            "vendi_ratio_read_expost",
        ),
        Metric("prior_gap", "", "lower", "conditional_accuracy_expost - conditional_accuracy"),
        Metric(
            "data_copying",
            "share",
            "",
            "share of samples nearer to a training image than 99 % of held-out images are, under the prior that is "
            "scored; .01 is what held-out images have; those near to one training image count once",
        ),
        Metric("data_copying_shape", "share", "", "the same whatever their place, sharpness and contrast"),
        Metric("data_copying_worst_class", "share", "lower", "the larger of the two in the class where it is largest"),
        Metric(
            "data_copying_flagged",
            "0 or 1",
            "lower",
            "one of these shares is above .03, beyond chance, and held-out images are not as near: the model may copy "
            "training images",
        ),
        Metric("nll_iw", "nats/image", "lower", "importance-weighted bound on -log p(x|c), tighter than neg_elbo"),
        Metric("nll_iw_sem", "nats/image", "", "standard error of nll_iw over images"),
        Metric("nll_iw_expost", "nats/image", "lower", "the same bound under the fitted prior, over the same z"),
        Metric("nll_iw_sem_expost", "nats/image", "", "standard error of nll_iw_expost over images"),
        Metric("pairwise_l2", "", "higher", "mean distance of two generated images of a class"),
        Metric("pairwise_l2_real", "", "", "the same of real images"),
        Metric("pairwise_l2_expost", "", "higher", "pairwise_l2 with z from the fitted prior"),
        Metric("pairwise_ssim", "", "lower", "mean structural similarity of two generated images of a class"),
        Metric("pairwise_ssim_real", "", "", "the same of real images"),
        Metric("pairwise_ssim_expost", "", "lower", "pairwise_ssim with z from the fitted prior"),
        Metric(
            "frechet_intra", "", "lower", "Frechet distance to real images in judge A's features, per class, averaged"
        ),
        Metric("frechet_intra_real", "", "", "the same for as many real training images"),
        Metric("frechet_pooled", "", "lower", "Frechet distance of all classes together"),
        Metric(
            "precision", "share", "higher", "share of generated images in a real image's k-NN ball, per class, averaged"
        ),
        Metric(
            "recall", "share", "higher", "share of real images in a generated image's k-NN ball, per class, averaged"
        ),
        Metric("density", "", "", "mean number of real balls a generated image is in, over k; can be gamed"),
        Metric("active_units", "dimensions", "", "latent dimensions whose mean varies over images by more than 0.01"),
        Metric("collapsed", "0 or 1", "lower", "no active unit, or a rate below 0.5 nat"),
        Metric(
            "label_leak_linear", "share", "lower", "accuracy of a logistic regression reading the label from sampled z"
        ),
        Metric(
            "label_leak_mlp", "share", "lower", "accuracy of a one-hidden-layer probe reading the label from sampled z"
        ),
        Metric("label_information", "nats", "lower", "lower bound on I(z;c), which the model assumes to be 0"),
        Metric("label_information_floor", "nats", "", "leaks below it are read as 0: the probe has too few images"),
        Metric(
            "swap_accuracy", "share", "higher", "share of images encoded with one label, decoded and read as another"
        ),
        Metric(
            "classification_accuracy_score",
            "share",
            "higher",
            "accuracy on real images of a CNN trained on generated ones",
        ),
        Metric("classification_accuracy_score_real", "share", "", "the same of a CNN trained on as many real ones"),
    )
}

METRICS |= {
    (other := by_judge(name + end, number)): Metric(
        other, METRICS[name + end].unit, METRICS[name + end].better, f"{name + end} by judge {number} of the panel"
    )
    for name in JUDGED
    for end in ("", "_expost")
    for number in range(2, MOST_JUDGES + 1)
}

HEADLINES = (
    "neg_elbo",
    "bce",
    "distortion",
    "kl",
    "bce_at_mean",
    "distortion_at_mean",
    "conditional_accuracy",
    "conditional_accuracy_b",
    "coverage_relative",
    "coverage_equivalent",
    "vendi_ratio_read",
    "nll_iw",
)
"""What a reader wants to see first, in this order: under the prior that is scored, N(0, I) beside it."""


def headlines(names: Collection[str]) -> list[tuple[str, str | None]]:
    """The headlines that are among `names`, under the prior that is scored, each with its name under N(0, I).

    The second is None where there is one prior alone, and where the quantity does not depend on it: bce is the same.
    """
    fitted = "neg_elbo_expost" in names
    return [
        (f"{name}_expost", name) if fitted and f"{name}_expost" in names else (name, None)
        for name in HEADLINES
        if name in names
    ]


AT_A_GLANCE = ("neg_elbo", "bce", "distortion", "kl", "conditional_accuracy", "coverage_relative", "vendi_ratio_read")
"""What two models are told apart by where there is room for a few: under a picture, over the seeds of the choice."""


def directed(name: str) -> str:
    """A metric's name, or key, with the arrow to its better side: neg_elbo ↓; where neither is better, the name."""
    metric = METRICS.get(name.rpartition("/")[2])
    return f"{name} {metric.arrow}" if metric and metric.arrow else name


def in_order(metrics: dict[str, float]) -> dict[str, float]:
    """The same metrics in the order of this catalog."""
    names = list(METRICS)
    return dict(sorted(metrics.items(), key=lambda item: names.index(item[0].partition("/")[2])))


def is_share(key: str) -> bool:
    """Whether a metric key, <split>/<name>, is of a share of images."""
    name = key.partition("/")[2]
    return name in METRICS and METRICS[name].is_share


def show(value: float) -> str:
    """A number as people read it: four digits for rates, two decimals for nats."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def share_form(value: float) -> str:
    """How a share is written: in per cent with one decimal; with two where one would round it to 0 or 100 that it is
    not."""
    return ".2%" if f"{value:.1%}" in ("0.0%", "100.0%") and 0 < value < 1 else ".1%"


def difference_form(value: float) -> str:
    """How a difference is written: with its sign, three digits, and never as a power of ten."""
    return "+.4f" if 0 < abs(value) < 1e-3 else "+.3g"


def show_spread(mean: float, deviation: float | None) -> str:
    """A mean and its deviation with the same number of decimals; the mean alone where there is none."""
    text = show(mean)
    if deviation is None:
        return text
    decimals = len(text.partition(".")[2])
    return f"{text} ± {deviation:.{decimals}f}"


BAR = r"\|"
"""A bar inside a cell of a markdown table."""


def markdown_table() -> str:
    """The catalog as a markdown table, the judges of a panel in one row. p(x|c) keeps its bar: bare, it ends a cell."""
    rows = [
        f"| `{m.name}` | {m.unit or '-'} | {m.better or '-'} | {m.meaning.replace('|', BAR)} |"
        for m in METRICS.values()
        if "_judge" not in m.name
    ]
    names = ", ".join(f"`{name}`" for name in JUDGED)
    rows.append(f"| .. `_judge2` to `_judge{MOST_JUDGES}` | | | {names}, as the other judges of a panel read them |")
    return "\n".join(["| key | unit | better | meaning |", "|---|---|---|---|", *rows])
