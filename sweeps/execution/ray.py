"""Where trials run: workers on the nodes of a Ray cluster. The driver owns the study, the store and the tracker.

What all jobs rest on (images, judges, references) goes into Ray's object store once, and to each machine once; events
stream back as they happen, checkpoints every so often, results at the end. A worker that dies, alone or with its node,
is replaced wherever there is room, and its jobs go on from their last checkpoint. Nodes that join are used. No node
needs to see another's files.
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.environment import cpu_model
from pipeline.errors import StudyError
from pipeline.runs.sending import build_shared, judges_are_there, own_results, shared_results
from pipeline.stages.context import Context
from pipeline.stages.graph import TRAIN
from pipeline.store.transfer import Packed, packed, unpack
from sweeps.execution.cluster import INSTALL, Cluster, connect, disconnect, living_nodes, ray_module
from sweeps.execution.jobs import EpochDone, Event, Job, JobFailed, JobStopped
from sweeps.execution.local import MAX_RESTARTS
from sweeps.execution.node import Delivery, Machine, NodeWorker, Parcel, versions

log = logging.getLogger("cvae-pipe")

CHECKPOINT_SECONDS = 10.0
"""Between two checkpoints that a training sends to the driver, besides one at each rung: what a node takes with it."""
SECONDS_PER_WORKER = 0.4
"""The same where there are many workers, for each: a checkpoint takes the driver about 20 ms."""
LOOK_AROUND = 2.0
"""Seconds after which the nodes of the cluster are counted again."""
PATIENCE = 30.0
"""Seconds that a job waits for a worker before people are told."""


@dataclass
class _Worker:
    actor: Any
    hello: Any
    """Reference to its machine, until that is there."""
    started: float = field(default_factory=time.monotonic)
    machine: Machine | None = None
    stream: Any = None
    """Of what it does now."""
    jobs: dict[str, Job] = field(default_factory=dict)
    """Those of them that are not over."""

    @property
    def busy(self) -> bool:
        return self.stream is not None

    @property
    def next(self) -> Any:
        """What to wait for: that it has started, or the next that it says; None while it has nothing to do."""
        return self.hello if self.machine is None else self.stream


class RayExecutor:
    """Up to `limit` trials at once, as many of them as the cluster has room for."""

    def __init__(self, base: Context, cluster: Cluster, limit: int) -> None:
        self._base, self._home, self._cluster, self._limit = base, base.home, cluster, limit
        self._ray = ray_module()
        connect(cluster)
        self._actor_class = self._ray.remote(NodeWorker)
        self._workers: list[_Worker] = []  # started when first needed
        self._waiting: deque[Job] = deque()
        self._restarts: dict[str, int] = {}
        self._shared: dict[str, dict[tuple[str, str], Any]] = {}
        self._in_store: dict[tuple[str, str], Any] = {}
        self._judges = False
        self._room, self._counted = 0, float("-inf")
        self._waiting_since: float | None = None
        self._machines: dict[str, str] = {}
        self._failed_starts = 0

    # ---- jobs in ----------------------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """None before the judges are there: they are sent along. Then whatever could begin now."""
        self._judges = self._judges or judges_are_there(self._base)
        if not self._judges:
            return 0
        idle = self._capacity() - sum(w.busy for w in self._workers)
        under_way = len(self._waiting) + sum(len(w.jobs) for w in self._workers)
        return max(0, min(idle * self._cluster.at_once - len(self._waiting), self._limit - under_way))

    def _capacity(self) -> int:
        """How many workers there may be; nodes come and go."""
        if time.monotonic() - self._counted > LOOK_AROUND:
            self._room, self._counted = self._cluster.room(), time.monotonic()
        return self._room

    def submit(self, job: Job) -> None:
        self._share(job)
        self._restarts[job.id] = 0
        self._waiting.append(job)

    def _share(self, job: Job) -> None:
        """Put what the job rests on into the object store, unless it is there."""
        results = shared_results(job.config, job.split)
        missing = [result for result in results if result not in self._in_store]
        if missing:
            build_shared(self._context(job), job.split)
            self._in_store |= {result: self._ray.put(packed(self._home.store.path(*result))) for result in missing}
        self._shared[job.id] = {result: self._in_store[result] for result in results}

    def _context(self, job: Job) -> Context:
        return replace(self._base, config=job.config)

    def answer(self, job: str, go_on: bool) -> None:
        for worker in self._workers:
            if job in worker.jobs:
                worker.actor.answer.remote(job, go_on)

    # ---- events out -------------------------------------------------------------------------------------------------

    def events(self, timeout: float) -> list[Event]:
        self._assign()
        told = {w.next: w for w in self._workers if w.next is not None}
        if not told:
            time.sleep(timeout)
            return []
        ready, _ = self._ray.wait(list(told), num_returns=1, timeout=timeout)
        if ready and len(told) > 1:
            ready, _ = self._ray.wait(list(told), num_returns=len(told), timeout=0)
        happened: list[Event] = []
        for reference in ready:
            worker = told[reference]
            happened += self._greeted(worker) if worker.machine is None else self._heard(worker)
        return happened

    def _greeted(self, worker: _Worker) -> Iterable[Event]:
        """A worker has started, or could not."""
        try:
            machine: Machine = self._ray.get(worker.hello)
        except self._ray.exceptions.RayError as error:
            self._workers.remove(worker)
            self._failed_starts += 1
            ours = isinstance(error, self._ray.exceptions.RayTaskError) or getattr(error, "actor_init_failed", False)
            if ours or self._failed_starts > MAX_RESTARTS:
                raise StudyError(
                    f"a worker on the Ray cluster cannot start: {cause_of(error)}; every node needs this version of "
                    f"cvae-pipe with Ray: {INSTALL}"
                ) from None
            return ()  # its node is gone: another is started where there is room
        worker.machine, self._failed_starts = machine, 0
        if machine.host not in self._machines:
            self._machines[machine.host] = machine.cpu
            self._compare(machine)
        return ()

    def _compare(self, machine: Machine) -> None:
        """Say where a node is not like this one: last bits of results may depend on it."""
        here = versions() | {"CPU": cpu_model()}
        there = machine.versions | {"CPU": machine.cpu}
        for name in sorted(here):
            if here[name] != there.get(name):
                what = f"{name} is {there.get(name)}, here {here[name]}"
                log.warning("node %s: %s; last bits of results may differ from those made here", machine.host, what)

    def _assign(self) -> None:
        """Give what waits to idle workers, and start workers while there is more."""
        idle = [w for w in self._workers if w.next is None]
        starting = sum(w.machine is None for w in self._workers)
        room = max(1, len(idle) + starting + max(0, self._capacity() - len(self._workers)))
        share = min(self._cluster.at_once, -(-len(self._waiting) // room)) if self._waiting else 0
        for worker in idle:
            if self._waiting:
                self._give(worker, [self._waiting.popleft() for _ in range(min(share, len(self._waiting)))])
        for _ in range(-(-len(self._waiting) // share) - starting if share else 0):
            if len(self._workers) < self._capacity():
                self._start()
        self._say_if_stuck()

    def _say_if_stuck(self) -> None:
        stuck = bool(self._waiting) and not any(w.busy for w in self._workers)
        now = time.monotonic()
        self._waiting_since = (self._waiting_since or now) if stuck else None
        if self._waiting_since is not None and now - self._waiting_since > PATIENCE:
            log.warning("%d trials wait for the Ray cluster: no node of it has room now", len(self._waiting))
            self._waiting_since = now

    def _start(self) -> None:
        options = self._cluster.resources | {
            "max_concurrency": 2,  # an answer comes while `run` streams
            "scheduling_strategy": "SPREAD",
        }
        actor = self._actor_class.options(**options).remote(self._cluster.at_once)
        self._workers.append(_Worker(actor, actor.machine.remote()))

    def _give(self, worker: _Worker, jobs: list[Job]) -> None:
        seconds = max(CHECKPOINT_SECONDS, SECONDS_PER_WORKER * len(self._workers))
        worker.jobs = {job.id: job for job in jobs}
        worker.stream = worker.actor.run.options(num_returns="streaming").remote([*map(self._parcel, jobs)], seconds)

    def _parcel(self, job: Job) -> Parcel:
        store = self._home.store
        own = own_results(self._context(job), job.split, job.rungs, job.objectives)
        return Parcel(
            job,
            self._shared[job.id],
            {(stage, key): packed(store.path(stage, key)) for stage, key in own},
            self._begun(job),
        )

    def _begun(self, job: Job) -> Packed:
        return packed(self._home.store.partial(TRAIN.name, TRAIN.key(job.config)))

    def _heard(self, worker: _Worker) -> Iterable[Event]:
        errors = self._ray.exceptions
        try:
            delivery: Delivery = self._ray.get(next(worker.stream))
        except StopIteration:
            worker.stream = None  # every job of it has had its last event, and it has cleared up
            return ()
        except errors.RayTaskError as error:
            self._drop(worker)
            return [JobFailed(job, f"its worker failed: {cause_of(error)}", str(error)) for job in worker.jobs]
        except errors.RayError as error:
            return self._replace(worker, error)
        return [self._keep(worker, delivery)]

    def _keep(self, worker: _Worker, delivery: Delivery) -> Event:
        """Write into the store what was sent along: first results, then the event may speak of them."""
        event, store = delivery.event, self._home.store
        job = worker.jobs[event.job]
        for (stage, key), files in delivery.results.items():
            store.receive(stage, key, files)
        if delivery.begun:
            unpack(delivery.begun, store.partial(TRAIN.name, TRAIN.key(job.config)))
        if isinstance(event, JobStopped):
            event = replace(event, folder=store.root / event.folder)
        if not isinstance(event, EpochDone):
            del worker.jobs[event.job], self._shared[event.job], self._restarts[event.job]
        return event

    def _replace(self, worker: _Worker, error: Exception) -> list[Event]:
        """A worker died: its jobs are the next to be given to another. A node's death is nobody's fault but its own."""
        self._drop(worker)
        alive = {node["NodeID"] for node in living_nodes()}
        out_of_reach = isinstance(
            error, self._ray.exceptions.ActorUnavailableError
        )  # before its node is known to be dead
        fault = not out_of_reach and (worker.machine is None or worker.machine.node in alive)
        failed: list[Event] = []
        for job in reversed(worker.jobs.values()):
            self._restarts[job.id] += fault
            if self._restarts[job.id] > MAX_RESTARTS:
                reason = f"its worker on the Ray cluster died {self._restarts[job.id]} times ({cause_of(error)})"
                failed.append(JobFailed(job.id, reason))
            else:
                self._waiting.appendleft(job)
        host = worker.machine.host if worker.machine else "a node"
        if going_on := len(worker.jobs) - len(failed):
            log.warning("a worker on %s died; its %d trials go on from their last checkpoints", host, going_on)
        self._counted = float("-inf")
        return failed

    def _drop(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # if it is only out of reach it must not go on: its jobs begin elsewhere

    def close(self) -> None:
        """Stop every worker now; unfinished jobs keep the checkpoints that they have sent."""
        for worker in self._workers:
            with contextlib.suppress(Exception):
                self._ray.kill(worker.actor)
        self._workers, self._waiting = [], deque()
        disconnect()


def cause_of(error: Exception) -> str:
    """The last line of what Ray says, which says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
