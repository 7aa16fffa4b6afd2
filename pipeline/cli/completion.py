"""What the shell offers for a word that is being typed: data sets, settings, names of what a home holds.

Asked at every TAB: it reads names and loads nothing. A home that cannot be read offers nothing.
"""

from collections.abc import Callable, Iterable

from pipeline.config.flags import OPTIONS
from pipeline.config.sections import ARCHITECTURES, DATASETS, DEVICES, LIKELIHOODS, MODELS, PRIORS, SCHEDULES
from pipeline.config.settings import RunConfig
from pipeline.store.home import Home

VALUES = {
    "data.dataset": DATASETS,
    "model.kind": MODELS,
    "model.arch": ARCHITECTURES,
    "model.likelihood": LIKELIHOODS,
    "train.schedule": SCHEDULES,
    "sampling.prior": PRIORS,
    "runtime.device": DEVICES,
}
"""Settings whose values are names."""


def values_of(setting: str, incomplete: str) -> list[str]:
    """The values of a setting that begin so."""
    return _begin(VALUES.get(setting, ()), incomplete)


def of(setting: str) -> Callable[[str], list[str]]:
    """What completes the values of a setting."""

    def complete(incomplete: str) -> list[str]:
        return values_of(setting, incomplete)

    return complete


def set_entries(incomplete: str) -> list[str]:
    """SECTION.KEY= of every setting; after the = its values, where they are names."""
    name, equals, value = incomplete.partition("=")
    if equals:
        return [f"{name}={found}" for found in values_of(name, value)]
    return _begin((f"{setting}=" for setting in RunConfig().flat()), incomplete)


def varied(incomplete: str) -> list[str]:
    """Settings that can be searched or varied: without their section where that says enough, as people type them."""
    daily = [setting.partition(".")[2] for setting in OPTIONS]
    return _begin((*daily, *RunConfig().flat()), incomplete)


def things(incomplete: str) -> list[str]:
    """Names of studies, ablations and runs, and what stands for one."""
    return _held(incomplete, ("study", "ablation", "run"))


def runs(incomplete: str) -> list[str]:
    """Names of runs."""
    return _held(incomplete, ("run",))


def comparable(incomplete: str) -> list[str]:
    """Names of runs and of studies."""
    return _held(incomplete, ("study", "run"))


def studies(incomplete: str) -> list[str]:
    """Names of studies, which go on under them."""
    return [name for name in _held(incomplete, ("study",)) if not name.startswith("@")]


def removable(incomplete: str) -> list[str]:
    """Names of what is removed by its name: no word that may mean another thing tomorrow."""
    return [name for name in things(incomplete) if not name.startswith("@")]


def metrics(incomplete: str) -> list[str]:
    """Names of what is measured."""
    from pipeline.evaluation.catalog import METRICS

    return _begin(METRICS, incomplete)


def objectives(incomplete: str) -> list[str]:
    """What a sweep can optimise."""
    from sweeps.study.objective import OBJECTIVES

    return _begin(OBJECTIVES, incomplete)


def samplers(incomplete: str) -> list[str]:
    """What can propose trials."""
    from sweeps.study.samplers import SAMPLERS

    return _begin(SAMPLERS, incomplete)


def pruners(incomplete: str) -> list[str]:
    """What can stop trials early."""
    from sweeps.study.config import PRUNERS

    return _begin(PRUNERS, incomplete)


def executors(incomplete: str) -> list[str]:
    """Where trials can run."""
    from sweeps.execution.kinds import EXECUTORS

    return _begin(EXECUTORS, incomplete)


def splits(incomplete: str) -> list[str]:
    """What a model can be opened on."""
    return _begin(("test", "val"), incomplete)


def _held(incomplete: str, kinds: tuple[str, ...]) -> list[str]:
    try:
        from pipeline.runs.stored import LAST, known_runs
        from sweeps.finding import BEST, named_things

        home = Home.from_environment()
        found = [thing.name for thing in named_things(home, kinds)]
        if "run" in kinds:
            opened = [run for run in known_runs(home) if run.split == "test"]
            found += [run.name for run in sorted(opened, key=lambda run: run.finished, reverse=True)]
            found += [BEST]
        return _begin((*found, LAST), incomplete)
    except Exception:  # a shell that is asked for names must not be told of errors
        return []


def _begin(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete)]
