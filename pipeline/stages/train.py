"""The stage `train`: one model, resumable after every epoch."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from pipeline.config.settings import RunConfig
from pipeline.data.splits import PreparedData
from pipeline.errors import DamageError
from pipeline.evaluation.catalog import of_likelihood
from pipeline.grids import GRID_COLUMNS, save_grid
from pipeline.models.architecture import Architecture
from pipeline.models.sampling import generation_grid
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN
from pipeline.stages.prepare import prepare
from pipeline.store.files import read_json, write_json
from pipeline.store.tensors import save_tensors
from pipeline.training.fit import build_model, fit, start
from pipeline.training.state import EpochRecord, Training, load_training, save_training

CHECKPOINT = "checkpoint.pt"

log = logging.getLogger("cvae-pipe")


@dataclass(frozen=True)
class Trained:
    """A trained model, its history, and its grids by epoch."""

    model: Architecture
    history: list[EpochRecord]
    folder: Path


def epoch_grid_path(folder: Path, epoch: int) -> Path:
    return folder / "grids" / f"epoch-{epoch:04d}.png"


def train(
    ctx: Context,
    on_epoch: Callable[[EpochRecord, Architecture | None, Path], None] = lambda record, model, folder: None,
) -> Trained:
    """The trained model; continues from the last finished epoch of an interrupted training.

    `on_epoch(record, model, folder)` hears every epoch once, old ones first: those of a finished or interrupted
    training are replayed from its history, and of those the model is None, except after the last of them.
    """
    config = ctx.config
    data = prepare(ctx)
    heard = 0

    def tell(record: EpochRecord, model: Architecture | None, folder: Path) -> None:
        nonlocal heard
        if record.epoch > heard:
            heard = record.epoch
            on_epoch(record, model, folder)

    def make(work: Path) -> None:
        training = begun(ctx, data, work)
        for record in training.history:
            tell(record, training.model if record.epoch == training.epoch else None, work)
        for record in fit(training, data, config.train):
            save_epoch_grid(training, record.epoch, config, data, work)
            save_training(training, work / CHECKPOINT)
            distortion = of_likelihood("bce", config.model.likelihood)
            note = f"val {distortion} {record.metrics[f'val/{distortion}']:.2f}"
            ctx.progress("train", record.epoch, config.train.epochs, note)
            tell(record, training.model, work)
        save_trained(training, config, work)

    folder = ctx.build(TRAIN, make)
    model = build_model(config.model, data, seed=0)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.eval().to(ctx.device)
    history = [EpochRecord.from_row(row) for row in read_json(folder / "history.json")]
    for record in history:
        tell(record, model if record.epoch == config.train.epochs else None, folder)
    return Trained(model, history, folder)


def model_after(ctx: Context, epoch: int) -> Architecture:
    """The model as its training left it after an epoch, trained anew from the start; nothing is stored."""
    data = prepare(ctx)
    training = start(ctx.config.model, ctx.config.train, data, ctx.device)
    for record in fit(training, data, ctx.config.train):
        if record.epoch == epoch:
            break
    return training.model


def begun(ctx: Context, data: PreparedData, work: Path) -> Training:
    """The training at its start, or at the checkpoint that an interrupted one has left."""
    training = start(ctx.config.model, ctx.config.train, data, ctx.device)
    if (work / CHECKPOINT).exists():
        try:
            load_training(training, work / CHECKPOINT)
            ctx.say(f"train: going on after epoch {training.epoch}")
        except DamageError as error:
            log.warning("train: %s; beginning anew", error)
    return training


def save_epoch_grid(training: Training, epoch: int, config: RunConfig, data: PreparedData, work: Path) -> None:
    if training.model.stochastic and _grid_is_due(epoch, config):
        save_grid(generation_grid(training.model), epoch_grid_path(work, epoch), GRID_COLUMNS, data.shape)


def save_trained(training: Training, config: RunConfig, work: Path) -> None:
    """What a finished training keeps: weights, history, configuration, and no checkpoint."""
    weights = {k: v.contiguous().cpu() for k, v in training.model.state_dict().items()}
    save_tensors(weights, work / "model.safetensors")
    write_json(work / "history.json", [record.row() for record in training.history])
    write_json(work / "config.json", config.flat())
    (work / CHECKPOINT).unlink(missing_ok=True)


def _grid_is_due(epoch: int, config: RunConfig) -> bool:
    return epoch % config.runtime.grid_every == 0 or epoch in (1, config.train.epochs)
