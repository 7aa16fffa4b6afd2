"""The stages `surroundings` and `copying`: how near held-out images and samples come to training images."""

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from pipeline.evaluation.copying import SHOWN, Bounds, Surroundings, copying_metrics, look_for_copies, surroundings
from pipeline.grids import paired_rows, save_grid
from pipeline.models.priors import STANDARD
from pipeline.stages.context import Context, Result
from pipeline.stages.graph import COPYING, PRIOR, SURROUNDINGS
from pipeline.stages.prepare import prepare
from pipeline.stages.prior import fitted_prior
from pipeline.stages.train import Trained, train
from pipeline.store.files import read_json, write_json
from pipeline.store.tensors import save_tensors

PAIRS = "pairs.png"
"""The samples nearest to a training image, above the training images they are nearest to."""


def held_out_surroundings(ctx: Context, split: str) -> Surroundings:
    """How near images of a split come to training images."""
    data = prepare(ctx)

    def make(work: Path) -> None:
        found = surroundings(data, data.split(split))
        tensors = {"shapes": found.shapes, "shapes_held_out": found.shapes_held_out}
        save_tensors({name: t.contiguous().cpu() for name, t in tensors.items()}, work / "surroundings.safetensors")
        write_json(work / "surroundings.json", {"of_class": asdict(found.of_class), "of_all": asdict(found.of_all)})

    tensors, bounds = _loaded(ctx.build(SURROUNDINGS, make, split), str(ctx.device))
    return Surroundings(
        data.split(split), tensors["shapes"], tensors["shapes_held_out"], bounds["of_class"], bounds["of_all"]
    )


@lru_cache(maxsize=2)
def _loaded(folder: Path, device: str) -> tuple[dict[str, Tensor], dict[str, Bounds]]:
    bounds = {name: Bounds(**facts) for name, facts in read_json(folder / "surroundings.json").items()}
    return load_file(folder / "surroundings.safetensors", device=device), bounds


def copying(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """The share of samples unusually near to a training image, under the prior that is scored; the nearest pairs."""
    config = ctx.config
    trained = trained or train(ctx)
    prior = fitted_prior(ctx, trained).density if PRIOR.when(config, split) else STANDARD
    around = held_out_surroundings(ctx, split)

    def make(work: Path) -> None:
        data = prepare(ctx)
        found = look_for_copies(trained.model, data, around, prior, seed=config.score.seed)
        write_json(work / "metrics.json", copying_metrics(found, split))
        write_json(
            work / "copying.json",
            {
                "spaces": {space: asdict(near) for space, near in found.spaces.items()},
                "held_out": found.held_out,
                "nearness": found.nearness,
            },
        )
        save_grid(paired_rows(found.images, found.sources, SHOWN), work / PAIRS, SHOWN, data.shape)

    folder = ctx.build(COPYING, make, split)
    return Result(folder, read_json(folder / "metrics.json"), {"copying": read_json(folder / "copying.json")})
