"""The stages `reference` and `calibration`: what real images of a split score, and the rows a score is read against."""

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from pipeline.evaluation.metrics.diversity import PixelPCA
from pipeline.evaluation.reference import Reference, build_reference, drawn_of_each, reference_rows
from pipeline.grids import GRID_COLUMNS, save_grid
from pipeline.stages.context import Context, Result
from pipeline.stages.graph import CALIBRATION, REAL_GRID, REFERENCE
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare
from pipeline.store.files import read_json, write_json
from pipeline.store.tensors import save_tensors


def reference(ctx: Context, split: str) -> Reference:
    """What real images of a split score; what generated ones are held against."""
    config = ctx.config
    stage = judge(ctx)
    data = prepare(ctx)

    def make(work: Path) -> None:
        ref = build_reference(stage.judges, data, data.split(split), config.score)
        save_tensors(
            {
                "features": ref.features.contiguous().cpu(),
                "radii": ref.radii.contiguous().cpu(),
                "coverage": ref.coverage.contiguous().cpu(),
                "vendi": ref.vendi.contiguous().cpu(),
                "growth": ref.growth.contiguous().cpu(),
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
                "classes": ref.classes,
            },
        )

    folder = ctx.build(REFERENCE, make, split)
    return _loaded_reference(folder, str(ctx.device))


@lru_cache(maxsize=4)
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
        growth=tensors["growth"].cpu(),
        classes=tuple(facts.get("classes", range(len(tensors["coverage"])))),
    )


def calibration(ctx: Context, split: str, trained: object = None) -> Result:
    """What real, mislabelled and mean images score: the rows that a model's scores are read against.

    Beside them a grid of real images of the split, laid out like the generated ones: a row per class. No model is
    looked at: `trained` stands here because every part of a run is given it.
    """
    judges, ref = judge(ctx).judges, reference(ctx, split)
    data = prepare(ctx)

    def make(work: Path) -> None:
        part = data.split(split)
        write_json(work / "rows.json", reference_rows(judges, ref, data, part, ctx.config.score))
        chosen = drawn_of_each(part.labels.cpu(), GRID_COLUMNS, data.classes, seed=0)
        columns = max(map(len, chosen))
        rows = [part.as_float(own.to(part.labels.device)) for own in chosen]
        filled = [F.pad(row, (0, 0, 0, columns - len(row)), value=0.5) for row in rows]  # of a class with fewer
        save_grid(torch.cat(filled), work / REAL_GRID, columns, data.shape)

    folder = ctx.build(CALIBRATION, make, split)
    return Result(folder, facts={"calibration": read_json(folder / "rows.json")})
