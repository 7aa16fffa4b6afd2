"""The stage `denoise`: noise taken out of images of a split, by the model and by a Gaussian filter."""

from pathlib import Path

from pipeline.evaluation.denoising import SHOWN
from pipeline.evaluation.denoising import denoise as take_out_noise
from pipeline.grids import save_grid
from pipeline.stages.context import Context, Result
from pipeline.stages.graph import DENOISE
from pipeline.stages.opened import opened
from pipeline.stages.prepare import prepare
from pipeline.stages.train import Trained, train
from pipeline.store.files import read_json, write_json

FACTS, SHEET = "denoise.json", "denoised.png"


def denoise(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """PSNR of every method at the level of noise `denoise.level`, in `facts`; some of the images."""
    config = ctx.config
    trained = trained or train(ctx)
    if split == "test":
        opened(ctx)

    def make(work: Path) -> None:
        data = prepare(ctx)
        found = take_out_noise(
            trained.model,
            data.val,
            data.split(split),
            data.shape,
            data.classes,
            config.denoise.level / 100,
            seed=config.denoise.seed,
        )
        cell = {"level": config.denoise.level, "cell": (data.height, data.width)}
        write_json(work / FACTS, found.facts | cell)
        save_grid(found.images, work / SHEET, SHOWN, data.shape)

    folder = ctx.build(DENOISE, make, split)
    return Result(folder, facts=read_json(folder / FACTS))
