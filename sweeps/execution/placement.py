"""Which executor a command gets: worker processes on the cores, a population on the GPU, a cluster. Starts none."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config.settings import RunConfig
from pipeline.stages.context import Context
from pipeline.store.home import Home
from sweeps.execution.cluster import Cluster, connect
from sweeps.execution.jobs import Executor
from sweeps.execution.local import LocalExecutor
from sweeps.execution.population import PopulationExecutor
from sweeps.study.space import Searched


@dataclass(frozen=True)
class Placement:
    """Where the jobs of one command run."""

    kind: str
    """local, population or ray."""
    workers: int
    """Processes; on a cluster trials at once."""
    make: Callable[[Home], Executor]


def on_cluster(base: Context, cluster: Cluster, *, workers: int | None, most: int, why: str) -> Placement:
    """Workers on a Ray cluster, joined now: as many trials at once as it has room for, but not more than `workers`, nor
    than `most`, which is so for the reason `why`; said, with what the cluster is."""
    what = connect(cluster)
    limit = most if workers is None else workers
    room = cluster.room() * cluster.at_once
    base.say(f"{what}; {min(limit, room)} are used, {why if workers is None else f'--workers being {workers}'}")

    def made(home: Home) -> Executor:
        from sweeps.execution.ray import RayExecutor

        return RayExecutor(base, cluster, limit)

    return Placement("ray", min(limit, room), made)


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
