"""One function per stage: its key, how it is built, how it is loaded. The only place that joins config and store.

    prepare ──> judge ──> reference(split) ──┬──────────────┐
        └─────> train ──> evaluate(split)    v              v
                   ├────────────────────> score(split)   audit(split)      score ──> expost(split)
                   ├────────────────────────────────────────^
                   └────────────────────> inside(split) <── judge

Asking for a stage builds whatever is missing before it, like a make target, and says what it did.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline import data as data_module
from pipeline.audit import audit_model
from pipeline.catalog import in_order
from pipeline.config import RunConfig, digest
from pipeline.data import PreparedData, Split
from pipeline.density import fit_prior
from pipeline.errors import ConfigError
from pipeline.inside import look_inside
from pipeline.judge import Gate, build_judge, check_gates, fit_judge, gate_values, gates_from
from pipeline.losses import bernoulli_bce, pixel_entropy
from pipeline.metrics.diversity import PixelPCA
from pipeline.model import Autoencoder
from pipeline.sampling import generation_grid, paired_rows, reconstructions, tile
from pipeline.scoring import (
    Judges,
    Reference,
    build_reference,
    class_means,
    expost_metrics,
    per_class_table,
    reference_rows,
    score_metrics,
    score_model,
    stratified_indices,
)
from pipeline.store import MANIFEST, Home, read_json, sha256, write_json
from pipeline.training import (
    EpochRecord,
    Training,
    build_model,
    elbo_per_image,
    fit,
    load_training,
    save_training,
    start,
)

VERSIONS = {
    "prepare": 1,
    "judge": 1,
    "reference": 1,
    "calibration": 2,
    "train": 2,
    "evaluate": 1,
    "score": 1,
    "expost": 1,
    "audit": 1,
    "inside": 1,
}
"""Raised when a stage's code changes its results: old results then simply stop being found."""

STAGES = tuple(VERSIONS)
JUDGE_KINDS: tuple[Literal["a"], Literal["b"]] = ("a", "b")
GRID_COLUMNS = 10
CHECKPOINT = "checkpoint.pt"
REAL_GRID = "real.png"


def silent(message: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Context:
    """What every stage is given: a configuration, a place, and somebody to tell."""

    config: RunConfig
    home: Home
    say: Callable[[str], None] = silent
    progress: Callable[[str, int, int, str], None] = field(default=lambda what, done, total, note: None)
    """Called with (what, done, total, note) during long work."""
    force: set[str] = field(default_factory=set)
    """Stages to build anew, once, even if their results are there."""
    told: set[str] = field(default_factory=set)
    """What has been said of up-to-date stages: once is enough."""

    @property
    def device(self) -> torch.device:
        name = self.config.runtime.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cuda" and not torch.cuda.is_available():
            raise ConfigError("runtime.device is cuda, but torch sees no CUDA device; use --device cpu")
        return torch.device(name)

    def build(
        self, stage: str, key: str, make: Callable[[Path], None], *, label: str = "", resumable: bool = False
    ) -> Path:
        """The stage's directory in the store; says whether it was made or was there."""
        name = f"{stage}{f' ({label})' if label else ''}"
        force = stage in self.force
        folder, made = self.home.store.build(stage, key, make, resumable=resumable, force=force)
        self.force.discard(stage)
        if made:
            self.say(f"{name}: done in {read_json(folder / MANIFEST)['seconds']:.1f} s")
        elif name not in self.told:
            self.say(f"{name}: up to date")
        self.told.add(name)
        return folder


# ---- keys ----------------------------------------------------------------------------------------------------------


def prepare_key(config: RunConfig) -> str:
    return digest("prepare", VERSIONS["prepare"], config.data)


def judge_key(config: RunConfig) -> str:
    return digest("judge", VERSIONS["judge"], prepare_key(config), config.judge)


def reference_key(config: RunConfig, split: str) -> str:
    return digest("reference", VERSIONS["reference"], judge_key(config), config.score, split)


def calibration_key(config: RunConfig, split: str) -> str:
    return digest("calibration", VERSIONS["calibration"], reference_key(config, split))


def train_key(config: RunConfig) -> str:
    return digest("train", VERSIONS["train"], prepare_key(config), config.model, config.train)


def evaluate_key(config: RunConfig, split: str) -> str:
    return digest("evaluate", VERSIONS["evaluate"], train_key(config), config.evaluate, split)


def score_key(config: RunConfig, split: str) -> str:
    return digest("score", VERSIONS["score"], train_key(config), reference_key(config, split))


def expost_key(config: RunConfig, split: str) -> str:
    return digest("expost", VERSIONS["expost"], score_key(config, split), config.sampling)


def audit_key(config: RunConfig, split: str) -> str:
    suite = dataclasses.replace(config.audit, enabled=True)  # the same suite whether asked for by `run` or by `audit`
    return digest("audit", VERSIONS["audit"], train_key(config), reference_key(config, split), suite)


def inside_key(config: RunConfig, split: str) -> str:
    samples = [judge_key(config), config.score] if config.model.kind == "cvae" else []
    return digest("inside", VERSIONS["inside"], train_key(config), *samples, split)


def run_key(config: RunConfig, split: str) -> str:
    """One key for one run: equal configurations opened on the same split are the same run."""
    extra = [audit_key(config, split)] if audited(config, split) else []
    extra += [expost_key(config, split)] if rescored(config) else []
    return digest("run", evaluate_key(config, split), score_key(config, split), *extra)


def rescored(config: RunConfig) -> bool:
    """Whether a run is scored a second time, under a prior fitted after training."""
    return config.sampling.prior != "standard" and config.model.kind == "cvae"


def audited(config: RunConfig, split: str) -> bool:
    """Whether a run has the secondary suite: if asked for, on test, and for a model that takes labels."""
    return config.audit.enabled and split == "test" and config.model.kind == "cvae"


# ---- prepare -------------------------------------------------------------------------------------------------------


def prepare(ctx: Context) -> PreparedData:
    """The data set, split; uint8 in memory, on the context's device."""

    def make(work: Path) -> None:
        data_module.save_prepared(data_module.prepare(ctx.config.data, ctx.home.data_dir), work)

    folder = ctx.build("prepare", prepare_key(ctx.config), make, label=ctx.config.data.dataset)
    return _loaded_data(folder, str(ctx.device))


@lru_cache(maxsize=2)
def _loaded_data(folder: Path, device: str) -> PreparedData:
    return data_module.load_prepared(folder).to(torch.device(device))


def split_of(data: PreparedData, name: str) -> Split:
    return {"train": data.train, "val": data.val, "test": data.test}[name]


# ---- judge ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeStage:
    """Both judges, their gates on real test images, and the hash of their weights."""

    judges: Judges
    gates: dict[Literal["a", "b"], list[Gate]]
    weights_sha256: str


def judge(ctx: Context) -> JudgeStage:
    """The evaluation classifiers, trained once per data set and configuration; JudgeError below an enforced gate."""
    config = ctx.config
    data = prepare(ctx)

    def make(work: Path) -> None:
        images, labels = data.train.images, data.train.labels
        means = class_means(data.train, data.classes)
        facts = {}
        for kind in JUDGE_KINDS:
            model = fit_judge(
                kind,
                images,
                labels,
                classes=data.classes,
                config=config.judge,
                on_epoch=partial(_report_judge, ctx, kind),
            )
            facts[kind] = gate_values(kind, model, data.test.images, data.test.labels, means)
            save_file({k: v.contiguous().cpu() for k, v in model.state_dict().items()}, work / f"{kind}.safetensors")
        write_json(work / "gates.json", facts)

    folder = ctx.build("judge", judge_key(config), make)
    values = read_json(folder / "gates.json")
    gates = {kind: gates_from(kind, values[kind], config.gates) for kind in JUDGE_KINDS}
    for rows in gates.values():
        check_gates(rows, enforce=config.gates.enforce)
    return JudgeStage(_loaded_judges(folder, data, str(ctx.device)), gates, sha256(folder / "a.safetensors"))


def _report_judge(ctx: Context, kind: str, epoch: int, epochs: int, loss: float) -> None:
    ctx.progress(f"judge {kind.upper()}", epoch, epochs, f"loss {loss:.3f}")


def _loaded_judges(folder: Path, data: PreparedData, device: str) -> Judges:
    return _judges(folder, data.height, data.width, data.classes, device)


@lru_cache(maxsize=2)
def _judges(folder: Path, height: int, width: int, classes: int, device: str) -> Judges:
    loaded = []
    for kind in JUDGE_KINDS:
        model = build_judge(kind, height=height, width=width, classes=classes)
        model.load_state_dict(load_file(folder / f"{kind}.safetensors"))
        loaded.append(model.eval().to(device))
    return Judges(*loaded)


def reference(ctx: Context, split: str) -> Reference:
    """What real images of a split score; what generated ones are held against."""
    config = ctx.config
    stage = judge(ctx)
    data = prepare(ctx)

    def make(work: Path) -> None:
        ref = build_reference(stage.judges, data, split_of(data, split), config.score)
        save_file(
            {
                "features": ref.features.contiguous().cpu(),
                "radii": ref.radii.contiguous().cpu(),
                "coverage": ref.coverage.contiguous().cpu(),
                "vendi": ref.vendi.contiguous().cpu(),
                "pca_mean": ref.pca.mean.contiguous().cpu(),
                "pca_components": ref.pca.components.contiguous().cpu(),
            },
            work / "reference.safetensors",
        )
        write_json(
            work / "reference.json",
            {
                "judge_accuracy": ref.judge_accuracy,
                "judge_b_accuracy": ref.judge_b_accuracy,
                "per_class": ref.per_class,
            },
        )

    folder = ctx.build("reference", reference_key(config, split), make, label=split)
    return _loaded_reference(folder, str(ctx.device))


@lru_cache(maxsize=2)
def _loaded_reference(folder: Path, device: str) -> Reference:
    tensors = {k: v.to(device) for k, v in load_file(folder / "reference.safetensors").items()}
    facts = read_json(folder / "reference.json")
    return Reference(
        features=tensors["features"],
        radii=tensors["radii"],
        pca=PixelPCA(tensors["pca_mean"], tensors["pca_components"]),
        judge_accuracy=facts["judge_accuracy"],
        judge_b_accuracy=facts["judge_b_accuracy"],
        coverage=tensors["coverage"].cpu(),
        vendi=tensors["vendi"].cpu(),
    )


def calibration(ctx: Context, split: str) -> list[dict[str, Any]]:
    """What real, mislabelled and mean images score: the rows that a model's scores are read against.

    Beside them a grid of real images of the split, laid out like the generated ones: a row per class.
    """
    judges, ref = judge(ctx).judges, reference(ctx, split)
    data = prepare(ctx)

    def make(work: Path) -> None:
        part = split_of(data, split)
        write_json(work / "rows.json", reference_rows(judges, ref, data, part, ctx.config.score))
        columns = min(GRID_COLUMNS, ref.per_class)
        chosen = stratified_indices(part.labels.cpu(), columns, data.classes, seed=0).flatten()
        _save_grid(part.as_float(chosen.to(part.labels.device)), work / REAL_GRID, data, columns)

    return read_json(ctx.build("calibration", calibration_key(ctx.config, split), make, label=split) / "rows.json")


# ---- train ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """A trained model, its history, and its grids by epoch."""

    model: Autoencoder
    history: list[EpochRecord]
    folder: Path


def epoch_grid_path(folder: Path, epoch: int) -> Path:
    return folder / "grids" / f"epoch-{epoch:04d}.png"


def train(
    ctx: Context,
    on_epoch: Callable[[EpochRecord, Autoencoder, Path], None] = lambda record, model, folder: None,
) -> Trained:
    """The trained model; continues from the last finished epoch of an interrupted training.

    `on_epoch(record, model, folder)` hears every epoch once, old ones first: those of a finished or interrupted
    training are replayed from its history, with the model as it is now.
    """
    config = ctx.config
    data = prepare(ctx)
    heard = 0

    def tell(record: EpochRecord, model: Autoencoder, folder: Path) -> None:
        nonlocal heard
        if record.epoch > heard:
            heard = record.epoch
            on_epoch(record, model, folder)

    def make(work: Path) -> None:
        training = begun(ctx, data, work)
        for record in training.history:
            tell(record, training.model, work)
        for record in fit(training, data, config.train):
            save_epoch_grid(training, record.epoch, config, data, work)
            save_training(training, work / CHECKPOINT)
            ctx.progress("train", record.epoch, config.train.epochs, f"val bce {record.metrics['val/bce']:.2f}")
            tell(record, training.model, work)
        save_trained(training, config, work)

    label = f"{config.model.kind}, {config.train.epochs} epochs"
    folder = ctx.build("train", train_key(config), make, label=label, resumable=True)
    model = build_model(config.model, data, seed=0)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.eval().to(ctx.device)
    history = [EpochRecord.from_row(row) for row in read_json(folder / "history.json")]
    for record in history:
        tell(record, model, folder)
    return Trained(model, history, folder)


def begun(ctx: Context, data: PreparedData, work: Path) -> Training:
    """The training at its start, or at the checkpoint that an interrupted one has left."""
    training = start(ctx.config.model, ctx.config.train, data, ctx.device)
    if (work / CHECKPOINT).exists():
        load_training(training, work / CHECKPOINT)
        ctx.say(f"train: going on after epoch {training.epoch}")
    return training


def save_epoch_grid(training: Training, epoch: int, config: RunConfig, data: PreparedData, work: Path) -> None:
    if training.model.stochastic and _grid_is_due(epoch, config):
        _save_grid(generation_grid(training.model), epoch_grid_path(work, epoch), data, GRID_COLUMNS)


def save_trained(training: Training, config: RunConfig, work: Path) -> None:
    """What a finished training keeps: weights, history, configuration, and no checkpoint."""
    weights = {k: v.contiguous().cpu() for k, v in training.model.state_dict().items()}
    save_file(weights, work / "model.safetensors")
    write_json(work / "history.json", [record.row() for record in training.history])
    write_json(work / "config.json", config.flat())
    (work / CHECKPOINT).unlink(missing_ok=True)


def _grid_is_due(epoch: int, config: RunConfig) -> bool:
    return epoch % config.runtime.grid_every == 0 or epoch in (1, config.train.epochs)


def _save_grid(images: torch.Tensor, path: Path, data: PreparedData, columns: int) -> None:
    path.parent.mkdir(exist_ok=True)
    sheet = tile(images, columns=columns, height=data.height, width=data.width)
    Image.fromarray(sheet.numpy()).save(path, optimize=True)


def read_grid(path: Path) -> UInt8[np.ndarray, "H W"]:
    with Image.open(path) as image:
        return np.asarray(image)


# ---- evaluate and score --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What `evaluate` or `score` measured on one split, and where its grids and per-image numbers are."""

    metrics: dict[str, float]
    folder: Path


def evaluate(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """bce, kl and neg_elbo with sampled z, bce at the mean of q, the entropy floor; the reconstruction grid."""
    config = ctx.config
    trained = trained or train(ctx)
    data = prepare(ctx)
    part = split_of(data, split)
    model = trained.model

    def make(work: Path) -> None:
        draws = 1 if not model.stochastic else config.evaluate.draws
        terms = elbo_per_image(model, part, seed=config.evaluate.seed, draws=draws)
        at_mean = elbo_per_image(model, part, seed=0, at_mean=True)
        bounds = bce_bounds(data, split)
        bce = float(terms.bce.double().mean())
        values = {"bce": bce, "excess_bce": bce - bounds["entropy_floor"], **bounds}
        if model.stochastic:
            neg_elbo = terms.neg_elbo.double()
            values |= {
                "kl": float(terms.kl.double().mean()),
                "neg_elbo": float(neg_elbo.mean()),
                "neg_elbo_sem": float(neg_elbo.std() / len(neg_elbo) ** 0.5),
                "bce_at_mean": float(at_mean.bce.double().mean()),
            }
        write_json(work / "metrics.json", {f"{split}/{key}": value for key, value in values.items()})
        save_file({"bce": terms.bce.cpu(), "kl": terms.kl.cpu().contiguous()}, work / "per_image.safetensors")
        per_class = max(1, GRID_COLUMNS // data.classes)
        chosen = stratified_indices(part.labels.cpu(), per_class, data.classes, seed=0).flatten()[: 2 * GRID_COLUMNS]
        chosen = chosen[: len(chosen) // GRID_COLUMNS * GRID_COLUMNS].to(part.labels.device)
        real = part.as_float(chosen)
        rows = paired_rows(real, reconstructions(model, real, part.labels[chosen]), GRID_COLUMNS)
        _save_grid(rows, work / "reconstructed.png", data, GRID_COLUMNS)

    folder = ctx.build("evaluate", evaluate_key(config, split), make, label=split)
    return Result(in_order(read_json(folder / "metrics.json")), folder)


@lru_cache(maxsize=4)
def bce_bounds(data: PreparedData, split: str) -> dict[str, float]:
    """Pixel entropy of a split and bce of a decoder that ignores z, nats per image: facts that no model changes."""
    part = split_of(data, split)
    floor = float(pixel_entropy(part.as_float(slice(None)).double()).mean())
    return {"entropy_floor": floor, "label_only_bce": label_only_bce(data, part)}


def label_only_bce(data: PreparedData, part: Split) -> float:
    """BCE of the training images' class means on a split, nats per image: the best decoder that ignores z.

    Means are kept away from 0 and 1 by 1e-6, since a pixel that never lit in training may light here.
    """
    means = class_means(data.train, data.classes).double().clamp(1e-6, 1 - 1e-6)
    logits = means.logit()[part.labels]
    return float(bernoulli_bce(logits, part.as_float(slice(None)).double()).mean())


def score(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """Conditional accuracy, coverage and diversity of generated images; the generation grid. For a cvae only."""
    config = ctx.config
    _require_labels(config, "score")
    trained = trained or train(ctx)
    data = prepare(ctx)
    judge_stage, ref = judge(ctx), reference(ctx, split)

    def make(work: Path) -> None:
        scores = score_model(trained.model, judge_stage.judges, ref, config.score)
        write_json(work / "metrics.json", score_metrics(scores, ref, split))
        write_json(
            work / "per_class.json",
            {
                "table": per_class_table(scores, ref, data.class_names),
                "confusion": scores.accuracy.confusion,
                "judge_sha256": judge_stage.weights_sha256,
                "reference_per_class": ref.per_class,
            },
        )
        save_file({"predicted": scores.predicted, "covered": scores.covered}, work / "per_sample.safetensors")
        _save_grid(generation_grid(trained.model), work / "generated.png", data, GRID_COLUMNS)

    folder = ctx.build("score", score_key(config, split), make, label=split)
    return Result(in_order(read_json(folder / "metrics.json")), folder)


def expost(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """The scores and the grid once more, with z from a density per class fitted on the training images' codes."""
    config = ctx.config
    trained = trained or train(ctx)
    standard = score(ctx, split, trained)
    data, judges, ref = prepare(ctx), judge(ctx).judges, reference(ctx, split)

    def make(work: Path) -> None:
        prior = fit_prior(trained.model, data.train, config.sampling, classes=data.classes)
        scores = score_model(trained.model, judges, ref, config.score, prior)
        write_json(work / "metrics.json", expost_metrics(scores, standard.metrics, ref, split))
        tensors = {"weights": prior.weights, "means": prior.means, "roots": prior.roots}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, work / "prior.safetensors")
        save_file({"predicted": scores.predicted, "covered": scores.covered}, work / "per_sample.safetensors")
        _save_grid(generation_grid(trained.model, prior=prior), work / "generated.png", data, GRID_COLUMNS)

    folder = ctx.build("expost", expost_key(config, split), make, label=f"{split}, {config.sampling.prior} prior")
    return Result(in_order(read_json(folder / "metrics.json")), folder)


def audit(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """The secondary suite: likelihood bound, diversity, latent health, memorisation. For a cvae only; takes minutes."""
    config = ctx.config
    _require_labels(config, "audit")
    trained = trained or train(ctx)
    data, judges, ref = prepare(ctx), judge(ctx).judges, reference(ctx, split)

    def make(work: Path) -> None:
        def progress(what: str, done: int, total: int) -> None:
            ctx.progress("audit", done, total, what)

        part = split_of(data, split)
        found = audit_model(trained.model, judges, ref, data, part, config.audit, config.score, progress)
        write_json(work / "metrics.json", {f"{split}/{key}": value for key, value in found.metrics.items()})
        write_json(work / "kl_per_dim.json", found.kl_per_dim)

    folder = ctx.build("audit", audit_key(config, split), make, label=split)
    return Result(in_order(read_json(folder / "metrics.json")), folder)


def inside(ctx: Context, split: str, trained: Trained | None = None) -> Path:
    """Traversals, interpolations, the latent map, KL per dimension, the most wrong samples: the folder that has them.

    A sheet of images is <name>.png; inside.json says what its rows are; map.safetensors has points and labels.
    """
    config = ctx.config
    trained = trained or train(ctx)
    data = prepare(ctx)
    judge_a = judge(ctx).judges.a if config.model.kind == "cvae" else None

    def make(work: Path) -> None:
        part = split_of(data, split)
        samples = config.score
        found = look_inside(trained.model, data, part, judge_a, per_class=samples.per_class, seed=samples.seed)
        for name, sheet in found.sheets.items():
            Image.fromarray(sheet).save(work / f"{name}.png", optimize=True)
        if found.points is not None:
            save_file({"points": found.points.contiguous(), "labels": found.labels}, work / "map.safetensors")
        write_json(work / "inside.json", found.facts)

    return ctx.build("inside", inside_key(config, split), make, label=split)


def _require_labels(config: RunConfig, stage: str) -> None:
    if config.model.kind != "cvae":
        raise ConfigError(
            f"{stage} needs --model cvae: {config.model.kind} takes no label, so conditional accuracy, coverage and "
            "diversity per class are not defined for it; evaluate works for every model"
        )


def result_facts(ctx: Context) -> dict[str, Any]:
    """Facts about the data set that stand beside every result."""
    data = prepare(ctx)
    return {
        "source_sha256": data.source_sha256,
        "images": {name: len(split_of(data, name)) for name in ("train", "val", "test")},
        "shape": [data.height, data.width],
        "classes": data.classes,
    }
