"""The section "Noise taken out": what the recipe `denoise` has stored, a row of a table and a sheet for each level."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline import plots
from pipeline.evaluation.thresholds import METHODS
from pipeline.reporting.blocks import Figure, Section, Table, Text
from pipeline.reporting.citation import Phrase, cited
from pipeline.runs.outcome import Outcome
from pipeline.store.files import read_json

TITLE = "Noise taken out"
COLUMNS = ("noise", "noisy", "Gaussian filter", "encoded", "projected", "gain over noisy", "gain over filter")


def denoise_section(outcome: Outcome) -> Section:
    """PSNR by level of noise; empty for a run that was never asked."""
    if not outcome.denoised:
        return Section(TITLE, ())
    found = [(folder, read_json(folder / "denoise.json")) for folder in outcome.denoised]
    levels = [facts for _, facts in found]
    caption = (
        f"PSNR in dB, mean over {levels[0]['images']:,} {outcome.split} images; gains of the projection with 95 % "
        "intervals over images. Noise: its standard deviation, black to white being 1. The filter has the width that "
        "is best for validation images at that level. Encoded: decoded from the mean of q(z|x,c) of the noisy image. "
        "Projected: from the code whose image, under Gaussian pixels and N(0, I), explains the noisy one best. The "
        "model never saw noise; labels are known to it."
    )
    rows = tuple(_row(outcome, facts) for facts in levels)
    figures = (_sheet(folder, facts, outcome.split) for folder, facts in found)
    return Section(TITLE, (Text(_sentence(outcome, levels)), Table(COLUMNS, rows, caption=caption), *figures))


def _row(outcome: Outcome, facts: dict[str, Any]) -> tuple[str, ...]:
    at = f"denoise/{facts['level']}"
    psnr = (cited(outcome, f"{at}/psnr/{name}", form=".2f") for name in METHODS)
    gains = (
        Phrase(cited(outcome, f"{at}/gain/{over}", form="+.2f"), " ± ", cited(outcome, f"{at}/half/{over}", form=".2f"))
        for over in ("noisy", "filtered")
    )
    return (cited(outcome, f"{at}/sigma", form=".2f"), *psnr, *gains)


def _sentence(outcome: Outcome, levels: list[dict[str, Any]]) -> Phrase:
    """Where the model is better than a filter, in a sentence."""
    certain = [facts for facts in levels if facts["gain"]["filtered"] > facts["half"]["filtered"]]
    last = f"denoise/{levels[-1]['level']}"
    gain = cited(outcome, f"{last}/gain/filtered", form="+.1f")
    sigma = cited(outcome, f"{last}/sigma", form=".2f")
    if not certain:
        return Phrase("At no level of noise does the model beat a Gaussian filter (", gain, " dB at ", sigma, ").")
    if len(certain) == len(levels):
        return Phrase("At every level of noise the model beats a Gaussian filter, by ", gain, " dB at ", sigma, ".")
    first = cited(outcome, f"denoise/{certain[0]['level']}/sigma", form=".2f")
    return Phrase(
        "The model beats a Gaussian filter from a noise of ",
        first,
        " on, by ",
        gain,
        " dB at ",
        sigma,
        "; in less noise what it cannot draw costs as much as the noise.",
    )


def _sheet(folder: Path, facts: dict[str, Any], split: str) -> Figure:
    with Image.open(folder / "denoised.png") as image:
        sheet = np.asarray(image)
    rows = ("clean", *METHODS)
    return Figure(
        f"denoised-{facts['level']}",
        plots.labelled_sheet(
            sheet,
            tuple(facts["cell"]),
            rows=rows,
            columns=[""] * 10,
            xlabel=f"{split} images",
            ylabel=f"noise {facts['sigma']:g}",
        ),
        f"Images, the same with noise of deviation {facts['sigma']:g}, and what each method makes of them",
        f"noise of standard deviation {facts['sigma']:g}: clean, noisy, and what each method makes of it",
    )
