"""Which executor a command gets: worker processes on the cores, or one population on the GPU. Starts neither."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config.settings import RunConfig
from pipeline.errors import StudyError
from pipeline.stages.context import device_of
from pipeline.store.home import Home
from sweeps.execution.jobs import Executor
from sweeps.execution.local import LocalExecutor
from sweeps.execution.population import PopulationExecutor
from sweeps.study.space import Searched

EXECUTORS = ("auto", "local", "population")
WINDOW = {"local": 4, "population": 16}
"""Default proposal window, whatever the number of workers. Sampler and pruner learn from trials a window ago: a wider
one keeps more workers busy and wastes more on trials that a narrower one would have stopped. A population trains a
window at a time."""


@dataclass(frozen=True)
class Placement:
    """Where the jobs of one command run."""

    kind: str
    """local or population."""
    workers: int
    """Processes."""
    make: Callable[[Home], Executor]


def executor_kind(config: RunConfig, name: str) -> str:
    """local or population; auto is a population where there is a GPU to train on."""
    if name not in EXECUTORS:
        raise StudyError(f"--executor is {name!r}; it must be one of {', '.join(EXECUTORS)}")
    if name == "auto":
        return "population" if device_of(config.runtime).type == "cuda" else "local"
    return name


def trained_alone(kind: str, config: RunConfig, space: tuple[Searched, ...] = ()) -> str:
    """What is to be said of trials that a population cannot stack; "" where it stacks all of them, or there is none."""
    if kind != "population":
        return ""
    from pipeline.training.population import not_stacked

    variants = [config, *(config.with_settings({d.setting: end}) for d in space for end in d.ends)]
    why = next((found for variant in variants if (found := not_stacked(variant.model))), "")
    if not why:
        return ""
    return (
        f"executor population: it stacks plain multilayer perceptrons; with {why} a trial is trained alone, after them"
    )


def place(kind: str, *, workers: int, at_once: int) -> Placement:
    """`workers` processes of one job each, or one process with `at_once` stacked jobs."""
    if kind == "population":
        return Placement(kind, 1, lambda home: PopulationExecutor(home, at_once))
    return Placement(kind, workers, lambda home: LocalExecutor(home, workers))
