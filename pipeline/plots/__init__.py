"""Figures of a report: data in, PNG bytes out. The only matplotlib and seaborn import; no paths, no stores, no runs.

Every figure is drawn object by object (no pyplot state), under one theme and one lock: matplotlib's settings belong to
the whole process, so they are put in place for the drawing and back afterwards. Columns of a trials frame: `number`
(the trial's), `beta`, and those that the caller names; a failed trial has nan there and is left out.

    theme.py      colours, fonts, the lock, PNG         axes.py       panels, ticks, labels
    curves.py     losses by epoch                       fronts.py     trials that trade one objective for another
    settings.py   what settings do to objectives        classes.py    scores per class
    latent.py     sheets of images, the latent map      search.py     contours, parallel coordinates
"""

from pipeline.plots.axes import Objective, Param
from pipeline.plots.classes import class_heat, confusion_matrix, per_class_bars, worst_of
from pipeline.plots.curves import History, loss_curves, reference_curve
from pipeline.plots.fronts import (
    NUMBERED,
    fronts_together,
    hypervolume_history,
    hypervolumes_together,
    pareto,
    rate_distortion,
)
from pipeline.plots.latent import captioned_images, dimension_use, labelled_sheet, latent_map
from pipeline.plots.search import contours, parallel_coordinates
from pipeline.plots.settings import ablation, importances, parameter_slices
from pipeline.plots.theme import image_png, png

__all__ = [
    "NUMBERED",
    "History",
    "Objective",
    "Param",
    "ablation",
    "captioned_images",
    "class_heat",
    "confusion_matrix",
    "contours",
    "dimension_use",
    "fronts_together",
    "hypervolume_history",
    "hypervolumes_together",
    "image_png",
    "importances",
    "labelled_sheet",
    "latent_map",
    "loss_curves",
    "parallel_coordinates",
    "parameter_slices",
    "pareto",
    "per_class_bars",
    "png",
    "rate_distortion",
    "reference_curve",
    "worst_of",
]
