"""A worker on a Ray cluster: a process on some node, with a home of its own on that node's disk. No files are shared.

It is sent what its jobs rest on, keeps what all workers of the machine share once, and sends back what it has made:
events, checkpoints on the way, results in the end.
"""

import getpass
import hashlib
import os
import platform
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import HomeError
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH, MANIFEST, Store
from pipeline.store.transfer import Packed, packed, unpack
from sweeps.execution.jobs import EpochDone, Event, Job, JobStopped

Named = dict[tuple[str, str], Any]
"""(stage, key) -> a result, packed, or a reference to one in Ray's object store."""


@dataclass(frozen=True)
class Parcel:
    """A job and what a worker needs for it."""

    job: Job
    shared: Named
    """References to what all jobs of its data set rest on."""
    own: Mapping[tuple[str, str], Packed]
    """What is there of it already."""
    begun: Packed
    """What an interrupted training of it has left: checkpoint and grids."""


@dataclass(frozen=True)
class Delivery:
    """What a worker says, and what it sends along."""

    event: Event
    results: Mapping[tuple[str, str], Packed] = field(default_factory=dict)
    """Results that are finished, by stage and the directory's name, which begins their key."""
    begun: Packed = field(default_factory=dict)
    """The job's unfinished training, if it is time for that."""


@dataclass(frozen=True)
class Machine:
    """Where a worker is and what it runs."""

    node: str
    """Ray's id of the node."""
    host: str
    pid: int
    cpu: str
    versions: dict[str, str]
    """Of the code and of the packages that decide results."""


def versions() -> dict[str, str]:
    """What must be the same on every node."""
    from pipeline.environment import environment_text

    lines = (line.partition(" ") for line in environment_text().splitlines())
    found = {name: version for name, _, version in lines if name in ("python", "torch", "numpy", "scikit-learn")}
    return {"the code of cvae-pipe": _digest_of_code(), **found}


def _digest_of_code() -> str:
    """Twelve hex digits of the SHA-256 of what is imported here: an installed package has no commit."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted((*root.glob("pipeline/**/*.py"), *root.glob("sweeps/**/*.py"))):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


class NodeWorker:
    """Runs jobs, one after the other or as a population. An actor: `run` streams, and is answered on the side."""

    def __init__(self, at_once: int) -> None:
        # The numerical libraries read these when they are first imported, which is later.
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
        import ray

        context = ray.get_runtime_context()
        self._at_once = at_once
        self._answers: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        place = scratch()
        self._cache = Store(place / "shared")
        self._root = _own_folder(place, context.get_actor_id())
        self._home = Home(self._root, self._root / "data")
        self._node = context.get_node_id()

    def machine(self) -> Machine:
        from pipeline.environment import cpu_model

        return Machine(self._node, platform.node(), os.getpid(), cpu_model(), versions())

    def answer(self, job: str, go_on: bool) -> None:
        """What a job at a rung waits for."""
        self._answers.put((job, go_on))

    def run(self, parcels: list[Parcel], checkpoint_seconds: float) -> Iterator[Delivery]:
        """Everything that happens to these jobs, as it happens; an unfinished training at most so often."""
        for parcel in parcels:
            self._unpack(parcel)
        jobs = [parcel.job for parcel in parcels]
        line = _Line(self._home, jobs, self._answers, checkpoint_seconds, alone=self._at_once == 1)
        threading.Thread(target=self._work, args=(jobs, line), daemon=True).start()
        while (said := line.said.get()) is not None:
            if isinstance(said, BaseException):
                raise said
            yield said
        self._clear()

    def _work(self, jobs: list[Job], line: "_Line") -> None:
        from pipeline.runs.execute import set_up_process
        from sweeps.execution import local, population

        try:
            set_up_process(jobs[0].config.runtime.threads)  # in this thread: rounding is a thread's own affair
            if self._at_once == 1:
                for job in jobs:
                    line.send(local._do(job, self._home, line))
            else:
                population._do(jobs, self._home, line, self._at_once)
            line.said.put(None)
        except BaseException as error:  # a bug of ours: the driver is told, and nobody waits for ever
            line.said.put(error)

    def _unpack(self, parcel: Parcel) -> None:
        import ray

        from pipeline.stages.graph import TRAIN

        for (stage, key), reference in parcel.shared.items():
            if not self._cache.has(stage, key):
                with self._cache.lock(f"fetch-{stage}-{key[:KEY_LENGTH]}"):  # once for all workers of a machine
                    if not self._cache.has(stage, key):
                        self._cache.receive(stage, key, ray.get(reference))
            link = self._home.store.path(stage, key)
            if not link.exists():
                link.unlink(missing_ok=True)  # one that leads nowhere: somebody cleared the cache
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(self._cache.path(stage, key), target_is_directory=True)
        for (stage, key), files in parcel.own.items():
            self._home.store.receive(stage, key, files)
        if parcel.begun:
            unpack(parcel.begun, self._home.store.partial(TRAIN.name, TRAIN.key(parcel.job.config)))

    def _clear(self) -> None:
        """Forget the jobs; what is shared stays."""
        for folder in _results(self._home.store):
            shutil.rmtree(folder)
        shutil.rmtree(self._home.store.root / "partial", ignore_errors=True)


class _Line:
    """What a job speaks to, in the place of a pipe to the driver: what it says is packed with what goes along."""

    def __init__(
        self,
        home: Home,
        jobs: list[Job],
        answers: "queue.SimpleQueue[tuple[str, bool]]",
        seconds: float,
        *,
        alone: bool,
    ) -> None:
        from pipeline.environment import cpu_model

        self.said: queue.SimpleQueue[Delivery | BaseException | None] = queue.SimpleQueue()
        self._store, self._answers, self._seconds, self._alone = home.store, answers, seconds, alone
        self._jobs = {job.id: job for job in jobs}
        self._cpu = cpu_model()
        self._sent = set(_results(self._store))
        self._saved = dict.fromkeys(self._jobs, time.monotonic())

    def send(self, event: Event) -> None:
        if isinstance(event, EpochDone):
            due = bool(event.rung) or time.monotonic() - self._saved[event.job] >= self._seconds
            self.said.put(Delivery(event, self._fresh(), self._begun(event.job)) if due else Delivery(event))
            return
        event = replace(event, cpu=self._cpu)
        begun: Packed = {}
        if isinstance(event, JobStopped):
            event = replace(event, folder=event.folder.relative_to(self._store.root))
            begun = self._begun(event.job)
        self.said.put(Delivery(event, self._fresh(), begun))

    def recv(self) -> Any:
        """The answer to a rung: of a population with the job's name, as it expects it."""
        job, go_on = self._answers.get()
        return go_on if self._alone else (job, go_on)

    def _begun(self, job: str) -> Packed:
        from pipeline.stages.graph import TRAIN

        self._saved[job] = time.monotonic()
        return packed(self._store.partial(TRAIN.name, TRAIN.key(self._jobs[job].config)))

    def _fresh(self) -> dict[tuple[str, str], Packed]:
        """Results that were finished since this was asked last."""
        fresh = [folder for folder in _results(self._store) if folder not in self._sent]
        self._sent.update(fresh)
        return {(folder.parent.name, folder.name): packed(folder) for folder in fresh}


def _results(store: Store) -> list[Path]:
    """The folders of a worker's own results; what it shares with others is linked."""
    found = (manifest.parent for manifest in sorted(store.root.glob(f"*/*/{MANIFEST}")))
    return [folder for folder in found if not folder.is_symlink() and folder.parent.name not in ("partial", "damaged")]


def scratch() -> Path:
    """Where workers on this machine keep files: below $TMPDIR, for this user alone; can be removed between sweeps."""
    place = Path(tempfile.gettempdir()) / f"cvae-pipe-{getpass.getuser()}"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise HomeError(f"{place} belongs to somebody else; set TMPDIR to a directory of your own on every node")
    return place


def _own_folder(place: Path, name: str) -> Path:
    """A folder for this worker; those of workers that are gone, killed with their node say, are removed."""
    workers = place / "workers"
    workers.mkdir(exist_ok=True)
    for lock_file in workers.glob("*.lock"):
        lock = FileLock(lock_file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
        lock_file.unlink(missing_ok=True)
        lock.release()
    _HELD.append(FileLock(workers / f"{name}.lock"))
    _HELD[-1].acquire()
    return workers / name


_HELD: list[FileLock] = []
"""Until this process ends."""
