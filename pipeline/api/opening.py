"""What every call of the door begins with: a context, a tracker, the home kept from being tidied meanwhile."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, StudyError
from pipeline.store.home import Home

if TYPE_CHECKING:
    from pipeline.stages.context import Context
    from pipeline.tracking import MlflowTracker

EXPERIMENT = "cvae-pipe"
"""MLflow's experiment, unless another is named."""
LOADING = "loading torch and MLflow"
"""Said for the seconds that it takes."""
Say = Callable[[str], None]
Progress = Callable[[str, int, int, str], None]
"""Called with (what, done, total, note) during long work."""


def silent(*_: object) -> None:
    """Hears everything and says nothing."""


def open_context(
    config: RunConfig,
    home: Home | None = None,
    *,
    force: set[str] | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> "Context":
    """What stages are given; HomeError if the home cannot be written. Sets this process's threads."""
    home = home or Home.from_environment()
    home.check_writable()
    home.tidy()
    from pipeline.runs.execute import set_up_process
    from pipeline.stages.context import Context

    set_up_process(config.runtime.threads)
    return Context(config, home, say=say, progress=progress, force=force or set())


@contextmanager
def working(home: Home, what: str) -> Iterator[None]:
    """Results are made inside, beside others and never beside a removal; what a kill cut short or left is seen
    to first."""
    from pipeline.store.trash import pending
    from pipeline.store.use import at_work, notes_of_the_dead

    if notes_of_the_dead(home):
        from sweeps.keeping.removal import clear_up_after_the_dead

        clear_up_after_the_dead(home)
    if any(pending(home)):
        from sweeps.keeping.removal import finish_pending

        finish_pending(home)
    with at_work(home, what):
        yield


def experiment_name(asked: str | None = None) -> str:
    """MLflow's experiment: the one asked for, or $MLFLOW_EXPERIMENT_NAME, or cvae-pipe."""
    name = (asked if asked is not None else os.environ.get("MLFLOW_EXPERIMENT_NAME", "")).strip()
    if asked is not None and not name:
        raise ConfigError("--experiment is empty; it must be a name")
    return name or EXPERIMENT


def connect(home: Home, experiment: str | None = None, *, say: Say = silent) -> "MlflowTracker":
    """The home's tracker; its warnings are said."""
    from pipeline.tracking import MlflowTracker

    name = experiment_name(experiment)
    return MlflowTracker.connect(home, name, on_warning=lambda text: say(f"warning: {text}"))


@contextmanager
def busy(progress: Progress, what: str) -> Iterator[None]:
    """Long work whose length nobody knows, as progress: 0 of 1, then 1 of 1."""
    progress(what, 0, 1, "")
    yield
    progress(what, 1, 1, "")


def worker_count(asked: int | None) -> int:
    """How many worker processes: what was asked for, or one per core that this process may use."""
    if asked is not None and asked < 1:
        raise StudyError(f"--workers is {asked}; it must be 1 or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or cores
