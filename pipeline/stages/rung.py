"""Scores at a rung: what a model was worth part of the way through its training. Cached like a stage, for ever.

It is no row of the table of stages, since its key holds an epoch and no run consists of it. A training that goes on, or
that was finished by another command, has only its latest model left: what was scored when the rung was passed is found
again, and what was not is trained again up to there, so that a rung's scores never depend on who asks or when.
"""

from collections.abc import Sequence
from pathlib import Path

from pipeline.evaluation.rungs import rung_scores
from pipeline.models.architecture import Architecture
from pipeline.stages.context import Context
from pipeline.stages.graph import RECORDED, rung_key
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference
from pipeline.stages.train import model_after
from pipeline.store.files import read_json, write_json
from pipeline.training.state import EpochRecord


def rung(
    ctx: Context, split: str, names: Sequence[str], record: EpochRecord, model: Architecture | None
) -> dict[str, float]:
    """Quick scores of these names after `record.epoch`; `model` is the model of that epoch, None if it is gone."""
    config = ctx.config
    sampled = [name for name in names if name not in RECORDED]
    recorded = {name: record.metrics[f"{split}/{name}"] for name in names if name in RECORDED}
    if not sampled:
        return recorded
    key = rung_key(config, split, record.epoch, names)

    def make(work: Path) -> None:
        judged = (judge(ctx).judges, reference(ctx, split)) if config.model.kind == "cvae" else None
        scores = rung_scores(
            sampled,
            model_after(ctx, record.epoch) if model is None else model,
            prepare(ctx),
            judged,
            neg_elbo=record.metrics[f"{split}/neg_elbo"],
            score=config.score,
            sampling=config.sampling,
        )
        write_json(work / "scores.json", scores)

    folder, _ = ctx.home.store.build("rung", key, make)
    scores = read_json(folder / "scores.json") | recorded
    return {name: scores[name] for name in names}
