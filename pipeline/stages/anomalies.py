"""The stage `anomalies`: a model trained without one class, and how strange it finds that class. Resumable."""

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.evaluation.anomalies import SHOWN, look_for_anomalies, without
from pipeline.evaluation.catalog import of_likelihood
from pipeline.grids import save_grid
from pipeline.stages.context import Context, Result
from pipeline.stages.graph import ANOMALIES
from pipeline.stages.prepare import prepare
from pipeline.stages.train import CHECKPOINT, begun, save_trained
from pipeline.store.files import read_json, write_json
from pipeline.training.fit import fit
from pipeline.training.state import save_training

FACTS, SHEET = "anomalies.json", "anomalies.png"


def anomalies(ctx: Context, split: str, trained: object = None) -> Result:
    """Areas under the ROC curve for the class `anomalies.held_out`, in `facts`; the most and least anomalous images.

    `trained` is passed over: the model of a run has seen every class.
    """
    config, data = ctx.config, prepare(ctx)
    held_out = config.anomalies.held_out
    if held_out >= data.classes:
        raise ConfigError(f"anomalies.held_out is {held_out}; {data.name} has the classes 0 to {data.classes - 1}")
    if data.classes < 2:
        raise ConfigError(f"{data.name} has one class; none can be held out")

    def make(work: Path) -> None:
        seen = without(data, held_out)
        training = begun(ctx, seen, work)
        distortion = of_likelihood("bce", config.model.likelihood)
        for record in fit(training, seen, config.train):
            save_training(training, work / CHECKPOINT)
            what = f"train without {data.class_names[held_out]}"
            note = f"val {distortion} {record.metrics[f'val/{distortion}']:.2f}"
            ctx.progress(what, record.epoch, config.train.epochs, note)
        found = look_for_anomalies(training.model.eval(), seen, data.split(split), held_out)
        save_trained(training, config, work)
        cell = {"cell": (data.height, data.width), "class_names": data.class_names}
        write_json(work / FACTS, found.facts | cell)
        save_grid(found.images, work / SHEET, SHOWN, data.shape)

    folder = ctx.build(ANOMALIES, make, split)
    return Result(folder, facts=read_json(folder / FACTS))
