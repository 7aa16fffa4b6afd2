"""A Ray cluster: what a trial takes of it, how it is reached, how many trials it has room for. Trains nothing.

Ray is an extra of this package, imported when it is asked for.
"""

import contextlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pipeline.errors import StudyError, cause

INSTALL = "pip install 'cvae-pipe[ray]'"
OBJECT_STORE = 2**29
"""Bytes, of a cluster that is started here for one command: images, judges, and results on their way."""


_joined = False
"""Whether this module has joined the cluster that this process is in; a program may have, and then it stays."""


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and what one trial takes of it."""

    address: str | None = None
    """HOST:PORT of its head; local for one of this machine alone; None for $RAY_ADDRESS, or the one that runs on this
    machine, or else a new one of this machine alone."""
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    """Below 1, trials that share a GPU are trained there as a population."""

    def __post_init__(self) -> None:
        if not self.cpus_per_trial > 0:
            raise StudyError(f"--cpus-per-trial is {self.cpus_per_trial:g}; it must be above 0")
        gpus = self.gpus_per_trial
        if not (0 <= gpus <= 1 or (gpus > 1 and gpus == int(gpus))):
            raise StudyError(f"--gpus-per-trial is {gpus:g}; it must be 0 to 1, or a whole number")
        if self.address is not None and self.address.startswith("ray://"):
            raise StudyError(
                f"--ray-address is {self.address}; a sweep is driven from a machine of the cluster, not through Ray "
                "Client: log in there, or use `ray job submit`, and give HOST:PORT or nothing"
            )

    @property
    def at_once(self) -> int:
        """Trials that one worker trains in lock-step: those that share a GPU."""
        return int(1 / self.gpus_per_trial + 1e-9) if 0 < self.gpus_per_trial < 1 else 1

    @property
    def resources(self) -> dict[str, float]:
        """What Ray is asked for a worker."""
        gpus = 1.0 if self.at_once > 1 else self.gpus_per_trial
        return {"num_cpus": self.cpus_per_trial, "num_gpus": gpus}

    def workers_of(self, node: dict[str, float]) -> int:
        """How many workers a node of these resources has room for."""
        asked = {"CPU": self.resources["num_cpus"], "GPU": self.resources["num_gpus"]}
        return min(int(node.get(name, 0.0) / amount + 1e-9) for name, amount in asked.items() if amount)

    def room(self) -> int:
        """How many workers the cluster has room for now; what others run on it is not taken off."""
        return sum(self.workers_of(node["Resources"]) for node in living_nodes())


def ray_module() -> ModuleType:
    """Ray; StudyError, in one line, where it is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise StudyError(f"--executor ray needs Ray, which is not installed here; install it with: {INSTALL}")
    # It would count this use, and warn of a default that changes; a worker without a GPU is to see none.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    import ray

    return ray


def connect(cluster: Cluster) -> str:
    """Join the cluster, or start one; what it is, in words. StudyError if it cannot be reached or fits no worker."""
    global _joined
    ray = ray_module()
    if not ray.is_initialized():
        with _handlers_kept():
            _join(ray, cluster.address)
        _joined = True
    nodes, room = living_nodes(), cluster.room()
    cpus, gpus = (sum(node["Resources"].get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    what = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}, {cpus:g} CPUs, {gpus:g} GPUs"
    if not room:
        raise StudyError(
            f"the Ray cluster ({what}) has no node with room for a trial of {cluster.cpus_per_trial:g} CPUs and "
            f"{cluster.gpus_per_trial:g} GPUs; lower --cpus-per-trial or --gpus-per-trial, or add nodes"
        )
    trials = room * cluster.at_once
    return f"Ray: {what}; room for {trials} trial{'s' if trials > 1 else ''} at once"


def _join(ray: ModuleType, address: str | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    asked = address or os.environ.get("RAY_ADDRESS")
    try:
        if asked != "local":
            if asked and asked != "auto":
                _knock(asked)
            ray.init(address=asked or "auto", **quiet)
            return
    except Exception as error:  # of many kinds
        if asked:
            raise StudyError(
                f"there is no Ray cluster at {asked} ({cause(error)}); start one with `ray start --head`, and "
                "join it on every other node with `ray start --address HOST:PORT`"
            ) from None
    try:
        ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)
    except Exception as error:
        raise StudyError(f"Ray could not be started on this machine: {cause(error)}") from None


def _knock(address: str) -> None:
    """ValueError or OSError where nobody listens: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        raise ValueError("an address is HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def disconnect() -> None:
    """Leave the cluster, if `connect` joined it; one that was started here ends."""
    global _joined
    if _joined:
        with _handlers_kept():
            ray_module().shutdown()
    _joined = False


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; a command's own way to end on it comes back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread: then Ray could not take it either
            signal.signal(signal.SIGTERM, before)


def living_nodes() -> list[dict[str, Any]]:
    """Ray's facts of every node that is alive."""
    return [node for node in ray_module().nodes() if node["Alive"]]
