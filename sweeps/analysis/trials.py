"""The trials of a study as tables take them: a row each, the last grid of each, the time they took together."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from pipeline.runs.outcome import epoch_grids
from pipeline.stages.graph import TRAIN
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH
from sweeps.study.config import StudyConfig
from sweeps.study.reading import FAIL, StoredStudy, StoredTrial


def trial_frame(study: StoredStudy, config: StudyConfig) -> pd.DataFrame:
    """A row per trial, in order of number."""
    rows = []
    for t in study.trials:
        metrics = {key.partition("/")[2]: value for key, value in t.user_attrs.get("metrics", {}).items()}
        state = "failed" if t.state == FAIL else t.state.lower()
        rows.append(
            {
                "number": t.number,
                "state": state,
                **t.params,
                **{o.name: float("nan") for o in config.objectives},
                **metrics,
                "seconds": float("nan") if t.seconds is None else t.seconds,
                "reason": t.user_attrs.get("reason", ""),
                "run_key": t.user_attrs.get("run_key", "")[:KEY_LENGTH],
            }
        )
    columns = ["number", "state", *(d.name for d in config.space), *(o.name for o in config.objectives)]
    return pd.DataFrame(rows, columns=None if rows else [*columns, "seconds", "reason", "run_key"])


def last_grid(home: Home, config: StudyConfig, trial: StoredTrial) -> tuple[int, Path] | None:
    """The last epoch that a failed or pruned trial drew a grid after, and the grid; None if it drew none."""
    if not trial.finished:  # its folder moves to the store when it ends, which may be now
        return None
    key = TRAIN.key(config.stored_trial_config(trial.number, trial.params))
    grids = epoch_grids(home.store.path("train", key)) or epoch_grids(home.store.partial("train", key))
    return max(grids.items(), default=None)


def busy_seconds(trials: Iterable[StoredTrial]) -> float:
    """Time in which at least one trial ran: what trials at one time have in common counts once, pauses not at all."""
    spans = sorted((t.started, t.ended) for t in trials if t.started and t.ended)
    total, until = 0.0, None
    for start, end in spans:
        total += max(0.0, (end - (start if until is None else max(start, until))).total_seconds())
        until = end if until is None else max(until, end)
    return total
