"""The kinds of executor, and the window of a new study under each. Loads no torch where there is no GPU to look for."""

from pipeline.config.settings import RunConfig
from pipeline.environment import without_gpu
from pipeline.errors import StudyError
from sweeps.execution.cluster import Cluster, connect

EXECUTORS = ("auto", "local", "population", "ray")
WINDOW = {"local": 4, "population": 16}
"""Default proposal window, whatever the number of workers. Sampler and pruner learn from trials a window ago: a wider
one keeps more workers busy and wastes more on trials that a narrower one would have stopped. A population trains a
window at a time."""


def executor_kind(config: RunConfig, name: str) -> str:
    """local, population or ray; auto is a population where there is a GPU to train on."""
    if name not in EXECUTORS:
        raise StudyError(f"--executor is {name!r}; it must be one of {', '.join(EXECUTORS)}")
    if name != "auto":
        return name
    if config.runtime.device == "cpu" or (config.runtime.device == "auto" and without_gpu()):
        return "local"
    from pipeline.stages.context import device_of  # here: it loads torch

    return "population" if device_of(config.runtime).type == "cuda" else "local"


def default_window(kind: str, cluster: Cluster | None = None) -> int:
    """The window of a new study; on a cluster no smaller than what it has room for, which joins it."""
    if kind != "ray":
        return WINDOW[kind]
    cluster = cluster or Cluster()
    connect(cluster)
    return max(WINDOW["local"], cluster.room() * cluster.at_once)
