"""The train stage for many configurations at once: stacks of them, each ending in the store as if trained alone.

Knows populations, stages and the store; no trials and no executor.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.config.settings import RunConfig
from pipeline.errors import DivergedError
from pipeline.models.architecture import Architecture
from pipeline.stages.context import Context
from pipeline.stages.graph import PREPARE, TRAIN
from pipeline.stages.prepare import prepare
from pipeline.stages.train import CHECKPOINT, begun, save_epoch_grid, save_trained, train
from pipeline.store.store import Building
from pipeline.training.population import Population, capacity, not_stacked, stack_shape
from pipeline.training.state import EpochRecord, Training, save_training

CHECKPOINT_SECONDS = 10.0
"""Between two checkpoints of a population: on a GPU an epoch of forty members takes less than saving them would. A
killed one repeats at most this much, and ends in the same numbers."""


@dataclass(frozen=True)
class EpochEnd:
    """An epoch of one member of a population."""

    member: int
    """Its position among the contexts given."""
    record: EpochRecord
    model: Architecture | None
    """As it was after that epoch; None if its training has gone on since."""
    folder: Path
    """Where its training keeps its files for now."""


class StoppedError(Exception):
    """A training that was told to stop between two epochs; its checkpoint stays."""


def train_population(
    ctxs: Sequence[Context], on_epochs: Callable[[list[EpochEnd]], set[int]], *, at_once: int
) -> dict[int, Exception]:
    """Train these configurations as populations of up to `at_once` members where their architectures allow it.

    Each training that is not in the store yet goes on from its checkpoint, ends in the store under the key that `train`
    gives it, and has the same records; `train` then finds it there. `on_epochs` hears an epoch of all members of a
    population at a time, old epochs first, and answers which positions in `ctxs` to stop: they keep their checkpoint.
    Returns why the members without a result have none. A device that runs out of memory halves the population. What no
    population stacks is trained after the others, one by one.
    """
    failed: dict[int, Exception] = {}
    groups: dict[Any, list[int]] = {}
    single: dict[int, str] = {}
    for i, ctx in enumerate(ctxs):
        if why := not_stacked(ctx.config.model):
            single[i] = why
            continue
        shape = PREPARE.key(ctx.config), str(ctx.device), stack_shape(ctx.config.model, ctx.config.train)
        groups.setdefault(shape, []).append(i)
    for members in groups.values():
        members.sort(key=lambda i: TRAIN.key(ctxs[i].config))  # one order of locks for every process
        first = ctxs[members[0]]
        sizes = [(ctxs[i].config.model, ctxs[i].config.train) for i in members]
        size = capacity(sizes, prepare(first), first.device, at_once)
        while members:
            part, rest = members[:size], members[size:]
            try:
                failed |= _train_stack(ctxs, part, on_epochs)
                members = rest
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size = max(1, min(size, len(part)) // 2)
                first.say(f"train: out of memory with {len(part)} members; going on with {size}")
                torch.cuda.empty_cache()
    for i, why in single.items():
        ctxs[i].say(f"train: not for a population ({why}); trained alone")
        failed |= _train_alone(ctxs, i, on_epochs)
    return failed


def _train_alone(
    ctxs: Sequence[Context], member: int, on_epochs: Callable[[list[EpochEnd]], set[int]]
) -> dict[int, Exception]:
    """One training by itself, told of and stopped as a member of a population is."""

    def on_epoch(record: EpochRecord, model: Architecture | None, folder: Path) -> None:
        if member in on_epochs([EpochEnd(member, record, model, folder)]):
            raise StoppedError

    if ctxs[member].home.store.has(TRAIN.name, TRAIN.key(ctxs[member].config)):
        return {}
    try:
        train(ctxs[member], on_epoch)
    except (StoppedError, DivergedError) as error:
        return {member: error}
    return {}


def _train_stack(
    ctxs: Sequence[Context], members: Sequence[int], on_epochs: Callable[[list[EpochEnd]], set[int]]
) -> dict[int, Exception]:
    """One population, from its members' checkpoints to their results in the store."""
    failed: dict[int, Exception] = {}
    data = prepare(ctxs[members[0]])
    with ExitStack() as locks:
        building: dict[int, Building] = {}
        for key, i in {TRAIN.key(ctxs[i].config): i for i in members}.items():  # equal trainings are one
            opened = ctxs[i].home.store.begin("train", key, resumable=True)
            if opened is not None:
                building[i] = opened
                locks.callback(opened.lock.release)  # again, for those that ended: that does nothing
        order = list(building)
        if not order:
            return failed
        trainings = [begun(ctxs[i], data, building[i].work) for i in order]
        population = Population(trainings, [ctxs[i].config.train for i in order], data)

        def tell(ends: list[tuple[int, EpochRecord]]) -> None:
            heard = []
            for m, record in ends:
                model = trainings[m].model if record.epoch == trainings[m].epoch else None
                heard.append(EpochEnd(order[m], record, model, building[order[m]].work))
            for i in on_epochs(heard) if heard else ():
                m = order.index(i)
                failed[i] = StoppedError()
                if m in population.active:
                    population.leave(m)

        for epoch in range(1, max((t.epoch for t in trainings), default=0) + 1):
            tell([(m, t.history[epoch - 1]) for m, t in enumerate(trainings) if t.epoch >= epoch])
        for m, training in enumerate(trainings):  # killed between its last epoch and its end
            if training.epoch == ctxs[order[m]].config.train.epochs and order[m] not in failed:
                _end(building[order[m]], training, ctxs[order[m]].config)
        saved = time.monotonic()
        while population.active:
            found = population.epoch()
            ends: list[tuple[int, EpochRecord]] = []
            due = time.monotonic() - saved >= CHECKPOINT_SECONDS
            for m, record in found.items():
                config, work = ctxs[order[m]].config, building[order[m]].work
                if isinstance(record, DivergedError):
                    failed[order[m]] = record
                    continue
                save_epoch_grid(trainings[m], record.epoch, config, data, work)
                if due:
                    save_training(trainings[m], work / CHECKPOINT)
                ends.append((m, record))
            if due:
                saved = time.monotonic()
            tell(ends)
            for m, record in ends:
                if record.epoch == ctxs[order[m]].config.train.epochs and order[m] not in failed:
                    _end(building[order[m]], trainings[m], ctxs[order[m]].config)
    return failed


def _end(building: Building, training: Training, config: RunConfig) -> None:
    with building:
        save_trained(training, config, building.work)
