"""The stage `prepare`: a data set, checked and split."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from pipeline.data.preparing import load_prepared, save_prepared
from pipeline.data.preparing import prepare as prepare_stage
from pipeline.data.splits import PreparedData
from pipeline.evaluation.reference import images_of_classes, too_small_classes
from pipeline.stages.context import Context
from pipeline.stages.graph import PREPARE


def prepare(ctx: Context) -> PreparedData:
    """The data set, split; uint8 in memory, on the context's device."""

    def make(work: Path) -> None:
        save_prepared(prepare_stage(ctx.config.data, ctx.home.data_dir, work=work, progress=ctx.progress), work)

    folder = ctx.build(PREPARE, make)
    data = _loaded_data(folder, str(ctx.device))
    for note in data.notes:
        if note not in ctx.told:
            ctx.told.add(note)
            ctx.say(f"prepare: {note}")
    return data


@lru_cache(maxsize=2)
def _loaded_data(folder: Path, device: str) -> PreparedData:
    return load_prepared(folder).to(torch.device(device))


def result_facts(ctx: Context) -> dict[str, Any]:
    """Facts about the data set that stand beside every result."""
    data = prepare(ctx)
    return {
        "source_sha256": data.source_sha256,
        "images": {name: len(data.split(name)) for name in ("train", "val", "test")},
        "shape": list(data.shape),
        "classes": data.classes,
        "class_images": {name: counts.tolist() for name, counts in images_of_classes(data).items()},
        "notes": list(data.notes),
        "too_small": [data.class_names[label] for label in too_small_classes(data)],
    }
