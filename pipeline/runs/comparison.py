"""Runs as pairs: differences of their metrics with 95 % intervals over images, and a verdict. Reads stored results.

Every run sees the same evaluation noise, labels and reference images, so what differs between two runs, item by item,
is the model. That is a statement about these two trained models; whether a *setting* helps rests on the spread over
training seeds.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file

from pipeline.errors import ConfigError, ReportError
from pipeline.evaluation.catalog import DISTORTION, METRICS
from pipeline.runs.listing import OBJECTIVES
from pipeline.runs.outcome import Outcome
from pipeline.stages.graph import EVALUATE, EXPOST, PREPARE, REFERENCE, SCORE
from pipeline.store.files import read_json
from pipeline.store.home import Home

Z95 = 1.959964
FEW = 100
"""Items below which Student's t takes the place of the normal: the ten classes of a Vendi score are few."""
PAIRED = {"paired difference": "mean", "paired difference low": "low", "paired difference high": "high"}
"""Aggregates of a number's source that are of two runs as pairs -> the field of `Difference`."""
SAMPLED = ("accuracy", "coverage", "coverage_relative", "vendi_ratio", "vendi_ratio_read")
"""Per-item numbers of generated images: pairs where judges and reference images are the same."""
SIZED = {
    f"{name}{end}"
    for name in ("coverage", "coverage_relative", "coverage_equivalent", "vendi", "vendi_ratio", "vendi_ratio_read")
    for end in ("", "_expost", "_real")
}
"""Metrics that depend on how many images of a class they are taken on."""
OF_THE_LIKELIHOOD = {
    *(f"{name}{end}" for name in ("neg_elbo", "neg_elbo_sem", "nll_iw", "nll_iw_sem") for end in ("", "_expost")),
    *DISTORTION,
    *DISTORTION.values(),
}
"""Metrics in nats of one likelihood."""
OTHER_LIKELIHOOD = (
    "neg_elbo, nll_iw and distortions of {names} are left out: nats of another likelihood than {first}'s "
    "({likelihood}) are another quantity and are never compared."
)
OTHER_SIZE = (
    "Coverage and Vendi scores of {names} are left out: they are taken on another number of images of a class than "
    "those of {first} (coverage_images), which makes them other quantities."
)
CAVEAT = (
    "Differences are to the first run, in pairs over the same images and noise, with 95 % intervals; those of Vendi "
    "ratios over the classes. They speak of these trained models; a claim about a setting needs several training seeds."
)


@dataclass(frozen=True)
class Difference:
    """Second minus first, over paired items."""

    mean: float
    low: float
    high: float
    verdict: str
    """better, worse, undecided; higher, lower where neither is better in itself."""


@dataclass(frozen=True)
class Row:
    """One metric of every run; None where a run does not have it."""

    key: str
    values: tuple[float | None, ...]
    differences: tuple[Difference | None, ...]
    """To the first run, of every other run; None where there are no pairs."""


@dataclass(frozen=True)
class Comparison:
    """Every metric of every run, the first being the one the others are held against."""

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    caveat: str = CAVEAT
    split: str = ""
    """That all were opened on."""
    differs: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    """Settings that are not the same in all: name, and the value of each."""
    objectives: tuple[str, ...] = ()
    """Keys of what is read first, under the prior that each is scored under."""
    itself: tuple[str, ...] = ()
    """Runs that were named twice."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def compare_runs(home: Home, runs: list[Outcome]) -> Comparison:
    """Runs of one split of one data set, compared; ConfigError if they are not."""
    if len(runs) < 2:
        raise ConfigError("compare needs two runs or more; `cvae-pipe run` makes one")
    first = runs[0]
    for other in runs[1:]:
        if PREPARE.key(other.config) != PREPARE.key(first.config) or other.split != first.split:
            raise ConfigError(
                f"{other.name} ({other.config.data.name}, {other.split}) and {first.name} "
                f"({first.config.data.name}, {first.split}) were not opened on the same images"
            )
    items = [paired_items(home, run) for run in runs]
    sized = f"{first.split}/coverage_images"
    others = [run for run in runs if run.metrics.get(sized) != first.metrics.get(sized) and sized in run.metrics]
    unlike = [run for run in runs if run.config.model.likelihood != first.config.model.likelihood]
    rows = []
    for key in dict.fromkeys(key for run in runs for key in run.metrics):
        metric = METRICS[key.partition("/")[2]]
        left_out = (others if metric.name in SIZED else []) + (unlike if metric.name in OF_THE_LIKELIHOOD else [])
        values = tuple(None if run in left_out else run.metrics.get(key) for run in runs)
        if all(value is None for value in values):
            continue  # of another likelihood than the first
        differences = tuple(
            difference(items[0][metric.paired], other[metric.paired], metric.better)
            if key in first.metrics
            and key in run.metrics
            and metric.paired in paired_names(first, run)
            and metric.paired in items[0].keys() & other.keys()  # of a Vendi ratio only where scores are new enough
            else None
            for run, other in zip(runs[1:], items[1:], strict=True)
        )
        rows.append(Row(key, values, differences))
    said = CAVEAT
    if others:
        said += " " + OTHER_SIZE.format(names=_named(others), first=first.name)
    if unlike:
        likelihood = first.config.model.likelihood.replace("_", " ")
        said += " " + OTHER_LIKELIHOOD.format(names=_named(unlike), first=first.name, likelihood=likelihood)
    keys = [run.key for run in runs]
    scored = dict.fromkeys(run.scored(name) for name in OBJECTIVES for run in runs)
    return Comparison(
        tuple(run.name for run in runs),
        tuple(rows),
        said,
        split=first.split,
        differs=_settings_apart(runs),
        objectives=tuple(key for key in scored if any(row.key == key for row in rows)),
        itself=tuple(dict.fromkeys(run.name for run in runs if keys.count(run.key) > 1)),
    )


def _settings_apart(runs: list[Outcome]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """The settings that are not the same in all; how things run is none of them."""
    flat = [run.config.flat() for run in runs]
    values = ((name, tuple(settings[name] for settings in flat)) for name in flat[0])
    return tuple((name, own) for name, own in values if len(set(map(str, own))) > 1 and not name.startswith("runtime."))


def _named(runs: list[Outcome]) -> str:
    return " and ".join(run.name for run in runs)


def paired_value(comparison: Comparison, key: str, aggregate: str) -> float:
    """A paired difference of the second run of a comparison to the first, or one of its ends."""
    found = [row.differences[0] for row in comparison.rows if row.key == key]
    if not found or found[0] is None:
        raise ReportError(f"{' and '.join(comparison.names)} are no pairs in {key}")
    return float(getattr(found[0], PAIRED[aggregate]))


def paired_names(first: Outcome, other: Outcome) -> set[str]:
    """Which per-item numbers of two runs are pairs: the same evaluation noise, the same judge and reference images."""
    names = set()
    if first.config.evaluate == other.config.evaluate:
        names |= {"kl", "kl_expost"}
        if first.config.model.likelihood == other.config.model.likelihood:
            names |= {"bce", "neg_elbo", "neg_elbo_expost"}
    if REFERENCE.key(first.config, first.split) == REFERENCE.key(other.config, other.split):
        names |= {f"{name}{end}" for name in SAMPLED for end in ("", "_expost")}
    return names


@dataclass(frozen=True)
class Items:
    """The numbers behind a metric of one run, in pairs with those of other runs."""

    values: Float[np.ndarray, " N"]
    """Per image, or per sample; their mean is the metric."""
    without: Float[np.ndarray, "G N"] | None = None
    """The same with every G-th generated image left out, in turn, where they rest on the sample as a whole."""


def paired_items(home: Home, run: Outcome) -> dict[str, Items]:
    """The numbers of a run by image, sample and class: bce, kl, neg_elbo (N,), accuracy (S,), coverage and
    coverage_relative (T K R,), vendi_ratio and vendi_ratio_read (K,), where its scores are not older than these.

    Under a fitted prior, which leaves bce as it is, the others a second time with `_expost` behind their names.
    """
    folder = home.store.path("evaluate", EVALUATE.key(run.config, run.split))
    terms = {name: value.astype(float) for name, value in load_file(folder / "per_image.safetensors").items()}
    terms["neg_elbo"] = terms["bce"] + terms["kl"]
    if run.fitted:
        fitted = home.store.path("expost", EXPOST.key(run.config, run.split))
        terms["kl_expost"] = load_file(fitted / "per_image.safetensors")["kl"].astype(float)
        terms["neg_elbo_expost"] = terms["bce"] + terms["kl_expost"]
    items = {name: Items(values) for name, values in terms.items()}
    if run.per_class is not None:
        items |= _sampled_items(run, home.store.path("score", SCORE.key(run.config, run.split)), "")
        if run.fitted:
            items |= _sampled_items(run, fitted, "_expost")
    return items


def _sampled_items(run: Outcome, folder: Path, end: str) -> dict[str, Items]:
    samples = load_file(folder / "per_sample.safetensors")
    labels = np.repeat(np.arange(run.facts["classes"]), run.config.score.per_class)  # as `balanced_labels` has them
    without = samples["covered_without"].astype(float)
    without, covered = without.reshape(len(without), -1), samples["covered"].astype(float).ravel()
    found = {
        f"accuracy{end}": Items((samples["predicted"] == labels).astype(float)),
        f"coverage{end}": Items(covered, without),
    }
    if real := run.metrics.get(f"{run.split}/coverage_real"):  # one number, the same for all runs that are pairs
        found[f"coverage_relative{end}"] = Items(covered / real, without / real)
    return found | {f"{name}{end}": Items(ratios) for name, ratios in _ratios(folder).items()}


def _ratios(folder: Path) -> dict[str, Float[np.ndarray, " K"]]:
    """Vendi ratios by class; older scores have that of all samples in their table, that of those read right not."""
    stored = read_json(folder / "per_class.json")
    table = stored["table"]
    if "ratios" in stored:
        return {name: np.asarray(values, float) for name, values in stored["ratios"].items()}
    pairs = zip(table.get("vendi", ()), table.get("vendi_real", ()), strict=True)
    ratios = [own / real for own, real in pairs if own is not None and real is not None]
    return {"vendi_ratio": np.array(ratios)} if ratios else {}


def difference(first: Items, second: Items, better: str) -> Difference | None:
    """Mean paired difference with its 95 % interval, normal or of few items Student's; None if they are not pairs.

    Its variance is that over the items and, where the sample as a whole matters, what another sample would add.
    """
    if first.values.shape != second.values.shape or len(first.values) < 2:
        return None
    delta = np.asarray(second.values, float) - np.asarray(first.values, float)
    mean, variance = float(delta.mean()), float(delta.var(ddof=1)) / len(delta)
    if first.without is not None and second.without is not None:
        variance += _of_the_sample(np.asarray(second.without, float) - np.asarray(first.without, float) - delta)
    half = _quantile(len(delta)) * variance**0.5
    low, high = mean - half, mean + half
    if low <= 0 <= high:
        verdict = "undecided"
    elif better:
        verdict = "better" if (mean > 0) == (better == "higher") else "worse"
    else:
        verdict = "higher" if mean > 0 else "lower"
    assert np.isfinite(delta).all()
    return Difference(mean, low, high, verdict)


def _quantile(items: int) -> float:
    """Half-widths of a 95 % interval, in standard errors."""
    if items >= FEW:
        return Z95
    from scipy.special import stdtrit

    return float(stdtrit(items - 1, 0.975))


def _of_the_sample(change: Float[np.ndarray, "G N"]) -> float:
    """Variance of the mean of N items over samples of generated images, from what leaving out a G-th of them changes.

    The jackknife (Efron & Stein 1981), less what the single items' chances put into it: the spread over items has these
    already, and counted twice they made intervals of 95 % cover 99.8 %.
    """
    groups, items = change.shape
    apart = change - change.mean(0)  # (G, N)
    shared = np.square(apart.mean(1)) - apart.var(1, ddof=1) / items
    return max(0.0, (groups - 1) / groups * float(shared.sum()))
