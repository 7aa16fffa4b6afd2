"""A finished run as the store has it: read back, and found by name or key. Measures nothing, writes nothing."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.settings import RunConfig
from pipeline.errors import DamageError
from pipeline.evaluation.catalog import in_order
from pipeline.runs.names import Label, label_of, own_name, run_name
from pipeline.runs.stored import damage, find_run_key, finished_at, recipe_keys, seconds_of, stored_config
from pipeline.stages.graph import CALIBRATION, INSIDE, REAL_GRID
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH


@dataclass(frozen=True)
class Outcome:
    """A finished run as the store has it."""

    key: str
    split: str
    config: RunConfig
    metrics: dict[str, float]
    facts: dict[str, Any]
    """Of the data set (sizes, hash), of the judges (gates, hash of their weights)."""
    history: list[dict[str, float]]
    per_class: dict[str, Any] | None
    """Columns of the per-class table, and the confusion matrix, under the prior that is scored; None where a model
    takes no label."""
    grids: dict[str, Path]
    """generated_expost, generated, reconstructed -> PNG."""
    epoch_grids: dict[int, Path]
    real: Path | None = None
    """Real images of the split in the layout of the generated ones; None where that was never drawn."""
    inside: Path | None = None
    """The folder of the stage `inside`; None for a trial of a sweep, and for a run that is older than the stage."""
    copies: Path | None = None
    """The samples nearest to a training image above these; None for an ae, and a run older than the stage `copying`."""
    made_as: str = ""
    """The name that it was stored under; "" for one older than that."""
    label: Label = field(default_factory=Label)
    """What somebody called it."""

    finished: str = ""
    """UTC, ISO 8601."""
    seconds: float = 0.0
    """What its own stages took; data and judges, which it shares with others, not counted."""
    denoised: tuple[Path, ...] = ()
    """The folders of the recipe `denoise`: one for each level of noise that was asked for."""
    anomalies: tuple[Path, ...] = ()
    """The folders of the recipe `anomalies` under this configuration: one for each class that was held out."""

    @property
    def name(self) -> str:
        return self.label.name or self.made_as or run_name(self.config, self.key)

    @property
    def scores(self) -> dict[str, float]:
        """The metrics by name, without the split that all of them are of."""
        return {key.partition("/")[2]: value for key, value in self.metrics.items()}

    @property
    def fitted(self) -> bool:
        """Whether a prior fitted after training is the one that is scored, N(0, I) standing beside it."""
        return f"{self.split}/neg_elbo_expost" in self.metrics

    def scored(self, name: str) -> str:
        """The metric key of a quantity under the prior that is scored: N(0, I)'s own where no other has it."""
        fitted = f"{self.split}/{name}_expost"
        return fitted if self.fitted and fitted in self.metrics else f"{self.split}/{name}"

    @property
    def picture(self) -> Path | None:
        """The grid of generated images, with z from the prior that is scored; None for a model without labels."""
        return (self.fitted and self.grids.get("generated_expost")) or self.grids.get("generated")


def load_outcome(home: Home, key: str) -> Outcome:
    """A finished run read back from the store; DamageError if a part of it is not what was written."""
    if not home.store.has("run", key):
        broken = ", ".join(home.store.damaged("run", key))
        raise DamageError(f"run {key[:KEY_LENGTH]} is damaged ({broken}); repeat the command that made it")
    folder = home.store.path("run", key)
    stored = read_json(folder / "run.json")
    if broken := "; ".join(damage(home, stored["stages"])):
        raise DamageError(
            f"run {key[:KEY_LENGTH]} rests on a result that is damaged: {broken}; repeat the command that made it"
        )
    paths = {stage: home.store.path(stage, stage_key) for stage, stage_key in stored["stages"].items()}
    config = stored_config(folder)
    real = home.store.path("calibration", CALIBRATION.key(config, stored["split"])) / REAL_GRID
    inside = INSIDE.key(config, stored["split"])
    grids = {
        name: path
        for name, stage, file in (
            ("generated_expost", "expost", "generated.png"),
            ("generated", "score", "generated.png"),
            ("reconstructed", "evaluate", "reconstructed.png"),
        )
        if (path := _in(paths, stage, file))
    }
    classes = stored["facts"]["classes"]
    made_of = {
        stage: tuple(home.store.path(stage, found) for found in keys)
        for stage, keys in recipe_keys(home, config, stored["split"], classes).items()
    }
    table = _in(paths, "expost", "per_class.json") or _in(paths, "score", "per_class.json")
    return Outcome(
        key=key,
        split=stored["split"],
        config=config,
        metrics=in_order(stored["metrics"]),
        facts=stored["facts"] | {"shape": _shape(stored["facts"]["shape"])},
        history=read_json(paths["train"] / "history.json"),
        per_class=read_json(table) if table else None,
        grids=grids,
        epoch_grids=epoch_grids(paths["train"]),
        real=real if real.exists() else None,
        inside=home.store.path("inside", inside) if home.store.has("inside", inside) else None,
        copies=_in(paths, "copying", "pairs.png"),
        made_as=own_name(home, key, config),
        label=label_of(home, key),
        finished=finished_at(home, [key]),
        seconds=seconds_of(home, stored["stages"]),
        denoised=made_of["denoise"],
        anomalies=made_of["anomalies"],
    )


def _shape(stored: list[int]) -> list[int]:
    """(channels, height, width) of an image; runs that are older than colour have (height, width)."""
    return stored if len(stored) == 3 else [1, *stored]


def _in(paths: dict[str, Path], stage: str, file: str) -> Path | None:
    """A file of one of a run's stages; None where the run has no such stage, or the stage no such file."""
    return path if stage in paths and (path := paths[stage] / file).exists() else None


def epoch_grids(folder: Path) -> dict[int, Path]:
    """The grids that a training, finished or not, has left in its folder: epoch -> PNG."""
    return {int(path.stem.removeprefix("epoch-")): path for path in sorted((folder / "grids").glob("epoch-*.png"))}


def find_run(home: Home, name: str) -> Outcome:
    """The one stored run of that name, key, or the beginning of either; ConfigError if there is none, or several."""
    return load_outcome(home, find_run_key(home, name))
