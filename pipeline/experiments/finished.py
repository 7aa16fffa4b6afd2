"""Whether there is nothing left to do for a run: whole in the store, recorded, reported. Loads no torch, no MLflow."""

import logging
from collections.abc import Callable

from pipeline.config.settings import RunConfig
from pipeline.errors import CvaePipeError
from pipeline.runs.names import name_for
from pipeline.runs.outcome import Outcome, load_outcome
from pipeline.runs.stored import stored_config
from pipeline.stages.graph import STAGES, run_key
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH
from pipeline.tracking.looking import finished_run

log = logging.getLogger("cvae-pipe")


def finished(home: Home, config: RunConfig, experiment: str, say: Callable[[str], None]) -> tuple[Outcome, str] | None:
    """The run opened on test and its id in the tracker, if it is finished in every respect; else None.

    Says of every stage that it is up to date, as building it would.
    """
    key = run_key(config, "test")
    if not home.store.has("run", key) or _is_away(config):
        return None
    if stored_config(home.store.path("run", key)).gates != config.gates:  # checked at use: another bound may refuse it
        return None
    stages = [stage for stage in STAGES if stage.when(config, "test")]
    for stage in stages:
        if home.store.damaged(stage.name, stage.key(config, "test"), thoroughly=True):
            return None
    run_id = finished_run(home, experiment, key[:KEY_LENGTH])
    if not run_id or not (home.reports / name_for(home, config, "test") / "report.html").exists():
        return None
    try:
        outcome = load_outcome(home, key)
    except CvaePipeError:  # the slow way says what is wrong, and mends it
        return None
    for stage in stages:
        log.debug("%s: key %s", stage.title(config, "test"), stage.key(config, "test")[:KEY_LENGTH])
        say(f"{stage.title(config, 'test')}: up to date")
    return outcome, run_id


def _is_away(config: RunConfig) -> bool:
    """Whether the device that was asked for is to be looked for first."""
    return config.runtime.device == "cuda"
